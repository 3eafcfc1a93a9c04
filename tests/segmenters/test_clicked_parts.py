"""Of a mask only what hangs together with a positive click is kept."""

from __future__ import annotations

import numpy as np

from engine.segmenters.base import Candidate, Photo, Prediction, Prompts
from engine.segmenters.clicked_parts import OnlyClicked, clicked_parts, only_clicked


def two_blobs() -> np.ndarray:
    mask = np.zeros((20, 40), np.float32)
    mask[4:12, 4:12] = 0.9
    mask[4:12, 24:36] = 0.8
    mask[3, 24:36] = 0.3  # the soft rim of the second
    mask[18, 2] = 0.4  # below one half: nobody's part
    return mask


def clicks(*points: tuple[float, float, int]) -> Prompts:
    return Prompts(np.array([p[:2] for p in points], np.float32).reshape(-1, 2), np.array([p[2] for p in points], int))


def test_parts_without_a_positive_click_go_with_their_soft_rim():
    mask = two_blobs()
    kept = clicked_parts(mask, clicks((6.5, 6.5, 1), (30.5, 6.5, 0)))
    assert (kept[:, :14] == mask[:, :14]).all()
    assert kept[:13, 20:].max() == 0


def test_every_part_that_is_clicked_stays():
    mask = two_blobs()
    assert (clicked_parts(mask, clicks((6.5, 6.5, 1), (30.5, 6.5, 1))) == mask).all()


def test_where_no_click_tells_which_part_is_meant_nothing_is_taken_away():
    mask = two_blobs()
    for prompts in (clicks((18.5, 15.5, 1)), clicks((6.5, 6.5, 0)), clicks()):
        assert (clicked_parts(mask, prompts) == mask).all()


def test_a_part_where_the_object_is_known_to_show_stays_without_a_click():
    """What stands before an object cuts it in two; the other views know of both halves."""
    mask, shown = two_blobs(), np.zeros((20, 40), bool)
    shown[3:13, 3:40] = True
    assert (clicked_parts(mask, clicks((6.5, 6.5, 1)), shown) == mask).all()


def test_a_box_without_a_click_keeps_what_lies_in_it():
    prompts = Prompts(np.zeros((0, 2), np.float32), np.zeros(0, int), np.array([20, 2, 45, 14], np.float32))
    kept = clicked_parts(two_blobs(), prompts)
    assert kept[:13, :14].max() == 0
    assert (kept[:, 24:36] == two_blobs()[:, 24:36]).all()


def test_a_click_on_the_last_row_and_column_counts():
    mask = two_blobs()
    mask[16:, 38:] = 1
    assert clicked_parts(mask, clicks((39.99, 19.99, 1)))[19, 39] == 1


def test_candidates_are_filtered_like_the_chosen_mask():
    mask = two_blobs()
    found = only_clicked(Prediction(mask, 0.5, (Candidate(mask, 0.5, "part"),)), clicks((6.5, 6.5, 1)))
    assert (found.candidates[0].mask == found.mask).all()
    assert found.mask[6, 30] == 0


class Blobs:
    name = "blobs"
    scales: tuple[str, ...] = ("one",)

    def set_image(self, photo: Photo) -> None:
        self.photo = photo

    def predict(self, prompts: Prompts) -> Prediction:
        return Prediction(two_blobs(), 0.5)


def test_a_segmenter_can_be_made_to_keep_clicked_parts_only():
    inner = Blobs()
    segmenter = OnlyClicked(inner)
    photo = Photo(np.zeros((20, 40, 3), np.float32))
    segmenter.set_image(photo)
    assert inner.photo is photo
    assert (segmenter.name, segmenter.scales) == ("blobs", ("one",))
    assert segmenter.predict(clicks((30.5, 6.5, 1))).mask[6, 6] == 0

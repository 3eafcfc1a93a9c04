"""The pictures, simulated users and losses that clicknet is trained with, on small pictures drawn here."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.segmenters.clicknet.training import clicks, losses
from engine.segmenters.clicknet.training.batches import as_prompts, draw_batch
from engine.segmenters.clicknet.training.clicks import Session
from engine.segmenters.clicknet.training.compose import Material, compose
from engine.segmenters.clicknet.training.pictures import (
    background_photos,
    masked_photos,
    read_masked_photo,
    read_scene,
    scene_files,
)
from engine.segmenters.clicknet.training.targets import GROUP, OBJECT, PART, Target, draw_targets
from engine.segmenters.clicknet.training.train import Recipe, train
from sa3d_blender.protocol.errors import CaptureError


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Four scenes of two discs that touch, one of them in two parts, as the renderer writes them."""
    rows, columns = np.mgrid[:96, :128]
    rng = np.random.default_rng(0)
    for number in (0, 1, 2, 3):
        rgb = rng.integers(0, 60, (96, 128, 3)).astype(np.uint8)
        identity = np.zeros((96, 128, 3), np.uint8)
        for k, x in enumerate((40 + number, 80)):
            disc = (rows - 48) ** 2 + (columns - x) ** 2 < 20**2
            identity[disc] = (k + 1, 0, 1)
            rgb[disc] = (200, 60 + 80 * k, 40)
        identity[(identity[..., 0] == 1) & (rows < 40), 1] = 1
        identity[(identity[..., 0] == 1) & (rows >= 40), 1] = 2
        Image.fromarray(rgb).save(tmp_path / f"{number:05d}-0.jpg", quality=95)
        Image.fromarray(identity).save(tmp_path / f"{number:05d}-0.png")
    return tmp_path


def material(folder: Path) -> Material:
    return Material(scene_files(folder, held_out=False), [], background_photos()[:2])


def square(side: int = 64, low: int = 20, high: int = 44) -> Target:
    mask = np.zeros((side, side), bool)
    mask[low:high, low:high] = True
    return Target(np.stack([mask] * 3), OBJECT, False)


def test_every_twentieth_scene_is_kept_for_validation(scenes):
    assert [path.stem for path in scene_files(scenes, held_out=True)] == ["00000-0"]
    assert [path.stem for path in scene_files(scenes, held_out=False)] == ["00001-0", "00002-0", "00003-0"]


def test_a_folder_without_scenes_says_how_to_make_them(tmp_path):
    with pytest.raises(CaptureError, match=r"no rendered scenes.*sa3d_blender\.synthetic"):
        scene_files(tmp_path, held_out=False)


def test_a_photo_that_is_still_being_rendered_is_left_out(scenes):
    (scenes / "00002-0.png").unlink()
    assert [path.stem for path in scene_files(scenes, held_out=False)] == ["00001-0", "00003-0"]


def test_a_masked_photo_is_one_instance(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (60, 40), (9, 9, 9)).save(tmp_path / "images/a.jpg")
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 20:40] = 255
    Image.fromarray(mask).save(tmp_path / "masks/a.png")
    picture = read_masked_photo(masked_photos(tmp_path)[0], longest=60)
    assert (picture.identity[..., 0] == (mask > 0)).all()
    assert picture.rgb.shape == (40, 60, 3)


def test_photos_and_masks_that_do_not_pair_are_refused(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (6, 4)).save(tmp_path / "images/a.jpg")
    with pytest.raises(CaptureError, match="1 photos and 0 masks"):
        masked_photos(tmp_path)


def test_composing_gives_the_same_picture_for_the_same_seed(scenes):
    first, second, other = (compose(np.random.default_rng(seed), material(scenes), 64) for seed in (5, 5, 6))
    assert np.array_equal(first.rgb, second.rgb) and np.array_equal(first.identity, second.identity)
    assert not np.array_equal(first.rgb, other.rgb)
    assert first.rgb.shape == first.identity.shape == (64, 64, 3)


def test_pasted_things_hide_what_lies_behind(scenes):
    """Wherever a picture says "pasted", group and instance agree; nothing has a part without an instance."""
    for seed in range(12):
        identity = compose(np.random.default_rng(seed), material(scenes), 96).identity
        pasted = identity[..., 0] >= 100
        assert (identity[pasted][:, 0] == identity[pasted][:, 2]).all()
        assert (identity[identity[..., 0] == 0] == 0).all()


def test_part_object_and_group_lie_in_one_another(scenes):
    picture = read_scene(scenes / "00001-0.jpg")
    for seed in range(10):
        for target in draw_targets(np.random.default_rng(seed), picture.identity, 3):
            part, whole, group = target.masks
            assert not (part & ~whole).any() and not (whole & ~group).any()
            assert target.ambiguous  # the discs touch
            assert np.array_equal(target.wanted, target.masks[target.meant])


def test_all_three_are_meant_at_times(scenes):
    picture = read_scene(scenes / "00001-0.jpg")
    meant = {t.meant for s in range(40) for t in draw_targets(np.random.default_rng(s), picture.identity, 2)}
    assert meant == {PART, OBJECT, GROUP}


def test_thin_things_are_drawn_more_often_when_asked_for():
    identity = np.zeros((96, 96, 3), np.uint8)
    identity[5:45, 5:45] = (1, 0, 1)
    identity[70:73, 5:90] = (2, 0, 2)

    def share(thin_first: bool) -> float:
        drawn = [draw_targets(np.random.default_rng(s), identity, 1, thin_first)[0] for s in range(200)]
        return float(np.mean([target.wanted[71, 50] for target in drawn]))

    assert 0.4 < share(False) < 0.6
    assert share(True) > 0.75


def test_first_prompts_speak_for_the_target():
    """Positive points lie inside, negative ones outside, boxes reach around the middle."""
    target = square()
    for seed in range(60):
        session = clicks.begin(np.random.default_rng(seed), target, np.zeros((64, 64), bool))
        assert session.points or session.box is not None
        for (x, y), label in zip(session.points, session.labels, strict=True):
            assert target.wanted[int(y), int(x)] == bool(label)
        if session.box is not None:
            assert (session.box[:2] < 32).all() and (session.box[2:] > 32).all()


def test_a_correction_clicks_the_middle_of_the_largest_error():
    session = Session(square())
    found = session.target.wanted[::2, ::2].copy()
    found[2:8, 20:31] = True  # too much, more than is missed
    found[10:12, 10:12] = False
    clicks.correct(np.random.default_rng(0), session, found)
    (x, y), label = session.points[0], session.labels[0]
    assert label == 0 and 4 <= y <= 16 and 40 <= x <= 62


def test_nothing_is_clicked_where_nothing_is_wrong():
    session = Session(square())
    clicks.correct(np.random.default_rng(0), session, session.target.wanted[::2, ::2])
    assert session.points == []


def test_a_perfect_mask_costs_little_and_its_opposite_much():
    truth = torch.from_numpy(square().masks[None].astype(np.float32))
    good, bad = losses.mask_loss(20 * truth - 10, truth), losses.mask_loss(10 - 20 * truth, truth)
    assert float(good.max()) < 0.01 and float(bad.min()) > 5


def test_prompts_become_tensors_with_padding(scenes):
    batch = draw_batch(np.random.default_rng(3), material(scenes), 2, 3, 64)
    prompts = as_prompts(batch)
    for k, session in enumerate(batch.sessions):
        assert int((prompts.labels[k] >= 0).sum()) == len(session.points)
        assert bool(torch.isnan(prompts.box[k]).all()) == (session.box is None)
        assert bool((prompts.mask[k] == 0).all()) or session.mask is not None


def test_a_stopped_run_goes_on_to_the_same_weights(scenes, tmp_path, monkeypatch):
    """Two steps at once, and one step, a stop and one more, end at the same averaged weights."""
    monkeypatch.setattr("engine.segmenters.clicknet.training.validation.PICTURES", 4)
    monkeypatch.setattr("engine.segmenters.clicknet.training.validation.SIDE", 64)
    monkeypatch.setattr("engine.segmenters.clicknet.training.train.CHECK_EVERY", 1)
    held_out = Material(scene_files(scenes, held_out=True), [], [])
    recipe = Recipe(steps=2, fine_steps=1, side=64, fine_side=96, pictures=2, targets=2)

    def stop(line: str) -> None:
        if '"step": 1' in line:
            raise KeyboardInterrupt

    whole = train(recipe, material(scenes), held_out, tmp_path / "whole", log=lambda line: None)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, material(scenes), held_out, tmp_path / "parts", log=stop)
    rest = train(recipe, material(scenes), held_out, tmp_path / "parts", log=lambda line: None)
    for name, value in whole.state_dict().items():
        assert torch.allclose(value, rest.state_dict()[name], atol=1e-6), name
    assert len((tmp_path / "parts/curve.jsonl").read_text().splitlines()) == 2

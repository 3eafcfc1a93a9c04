"""Pictures of the worst views: no larger than they need be, however large the truth is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from engine.evaluation import worst
from engine.evaluation.worst import SHOWN, worst_views


def outcome(size: tuple[int, int]) -> Any:
    truth = np.zeros(size, bool)
    truth[: size[0] // 2, : size[1] // 2] = True
    views = {str(i): SimpleNamespace(iou=i / 10) for i in range(5)}
    masks = {stem: np.ones((30, 40), np.float32) for stem in views}
    task = SimpleNamespace(name="lamp", targets={stem: lambda: truth for stem in views})
    return SimpleNamespace(views=views, task=task, carried=SimpleNamespace(masks=masks))


WORKSPACE = cast(Any, SimpleNamespace(photo=lambda stem: np.full((30, 40, 3), 0.5, np.float32)))


@pytest.mark.parametrize(("size", "most", "shown"), [((60, 80), 5000, (60, 80)), ((60, 80), 4000, (30, 40))])
def test_a_truth_far_larger_than_the_photo_is_shown_at_the_photo_s_size(monkeypatch, size, most, shown):
    drawn: list[tuple[int, ...]] = []

    def outlined(photo: np.ndarray, ours: np.ndarray, truth: np.ndarray) -> np.ndarray:
        assert photo.shape[:2] == ours.shape == truth.shape and truth.mean() == 0.25
        drawn.append(truth.shape)
        return photo

    monkeypatch.setattr(worst, "MOST_PIXELS", most)
    monkeypatch.setattr(worst, "outlined", outlined)
    pictures = worst_views.__wrapped__(WORKSPACE, outcome(size))  # without the check of types: stand-ins will do
    assert drawn == [shown] * SHOWN and "IoU 0.000" in pictures[0].caption

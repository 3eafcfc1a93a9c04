"""A scale that the segmenter doesn't know is refused, and the sentence says what there is."""

from __future__ import annotations

import pytest

from engine.segmenters.base import Photo, Prediction, Prompts
from engine.segmenters.scales import check_scale
from sa3d_blender.protocol.errors import PromptError


class Some:
    name = "some"

    def __init__(self, *scales: str) -> None:
        self.scales = scales

    def set_image(self, photo: Photo) -> None:
        raise AssertionError("nothing needs to be segmented")

    def predict(self, prompts: Prompts) -> Prediction:
        raise AssertionError("nothing needs to be segmented")


def test_a_known_scale_and_no_wish_at_all_pass():
    check_scale(Some("part", "whole"), "part")
    check_scale(Some("part", "whole"), None)
    check_scale(Some(), None)


def test_an_unknown_scale_is_refused_with_the_list():
    with pytest.raises(PromptError, match='no scale "piece"') as caught:
        check_scale(Some("part", "whole"), "piece")
    assert "part, whole" in caught.value.cure


def test_a_segmenter_without_scales_refuses_any():
    with pytest.raises(PromptError, match="can't tell scales apart"):
        check_scale(Some(), "part")

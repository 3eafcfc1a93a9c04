"""The segmenter is the one that was asked for, or the best there are weights for, and the log says which."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.segmenters import choose
from engine.segmenters.choose import RANKING, SEGMENTERS, at_hand, make_segmenter
from engine.segmenters.clicknet.segmenter import ClickNetSegmenter
from engine.segmenters.graph_cut import GraphCutSegmenter
from engine.segmenters.weights import WEIGHTS
from sa3d_blender.protocol.errors import SegmenterError, StorageError


@pytest.fixture
def no_clicknet(tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "CLICKNET_WEIGHTS", tmp_path / "nowhere" / "clicknet.safetensors")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory) -> Path:
    """A clicknet that has learned nothing."""
    from engine.segmenters.clicknet.network import ClickNet

    torch.manual_seed(0)
    state = {k: v for k, v in ClickNet().state_dict().items() if not k.endswith("num_batches_tracked")}
    path = tmp_path_factory.mktemp("weights") / "clicknet.safetensors"
    save_file({name: value.contiguous().half() for name, value in state.items()}, path)
    return path


@pytest.mark.usefixtures("no_clicknet")
def test_auto_without_any_weights_takes_the_graph_cut_and_says_why(tmp_path):
    lines = []
    assert at_hand(tmp_path) == ("graph-cut",)
    assert make_segmenter("auto", cache_dir=tmp_path, log=lines.append).name == "graph-cut"
    assert "neither usable SAM weights nor clicknet's" in lines[-1]


def test_auto_prefers_the_learned_one_that_comes_along_to_the_graph_cut(tmp_path, untrained, monkeypatch):
    monkeypatch.setattr(choose, "CLICKNET_WEIGHTS", untrained)
    monkeypatch.setattr(choose, "_clicknet", lambda path, *rest: choose_made(untrained))
    lines = []
    assert at_hand(tmp_path) == ("clicknet", "graph-cut")
    assert make_segmenter("auto", cache_dir=tmp_path, log=lines.append).name == "clicknet"
    assert "clicknet, the learned one that comes along" in lines[-1]
    assert "to be downloaded: sam-vit-h, sam-vit-l, sam-vit-b, mobile-sam" in lines[-1]


def choose_made(path: Path):
    return ClickNetSegmenter(path)


@pytest.mark.parametrize("name", ["auto", "clicknet"])
def test_another_clicknet_can_be_named_by_its_file(tmp_path, untrained, name):
    assert make_segmenter(name, cache_dir=tmp_path, weights_path=untrained).name == "clicknet"


def test_clicknets_weights_are_where_it_looks_for_them():
    from engine.segmenters.clicknet.segmenter import SHIPPED

    assert choose.CLICKNET_WEIGHTS == SHIPPED


@pytest.mark.usefixtures("no_clicknet")
def test_auto_leaves_damaged_weights_out_and_says_so(tmp_path):
    file = tmp_path / "weights" / WEIGHTS["sam-vit-l"].file
    file.parent.mkdir()
    file.write_bytes(b"not weights")
    lines = []
    assert at_hand(tmp_path) == ("sam-vit-l", "graph-cut")
    assert make_segmenter("auto", cache_dir=tmp_path, log=lines.append).name == "graph-cut"
    assert any("sam-vit-l is left out" in line for line in lines)


def test_a_sam_that_was_asked_for_is_never_replaced(tmp_path):
    with pytest.raises(SegmenterError, match="no weights for sam-vit-b"):
        make_segmenter("sam-vit-b", cache_dir=tmp_path)
    cut = tmp_path / WEIGHTS["sam-vit-b"].file
    cut.write_bytes(b"cut")
    with pytest.raises(StorageError, match="cut"):
        make_segmenter("sam-vit-b", weights_path=cut)
    with pytest.raises(StorageError, match="cut"):
        make_segmenter("auto", cache_dir=tmp_path, weights_path=cut)


def test_weights_of_an_unknown_name_are_refused_with_the_names_that_could_be_meant(tmp_path):
    with pytest.raises(SegmenterError, match=r"some\.pth do not say which segmenter") as caught:
        make_segmenter("auto", weights_path=tmp_path / "some.pth")
    assert "clicknet" in caught.value.cure


def test_unknown_names_are_refused_with_the_list():
    with pytest.raises(SegmenterError) as caught:
        make_segmenter("sam-vit-xxl")
    assert all(name in caught.value.cure for name in SEGMENTERS)


def test_auto_and_every_ranked_name_can_be_asked_for():
    assert ("auto", *RANKING) == SEGMENTERS
    assert set(RANKING) == {*WEIGHTS, ClickNetSegmenter.name, GraphCutSegmenter.name}

"""The segmenter is the one that was asked for, or the best there are weights for, and the log says which."""

from __future__ import annotations

import pytest

from engine.segmenters.choose import make_segmenter
from engine.segmenters.weights import WEIGHTS
from sa3d_blender.protocol.errors import SegmenterError, StorageError


def test_auto_without_weights_takes_the_graph_cut_and_says_why(tmp_path):
    lines = []
    assert make_segmenter("auto", cache_dir=tmp_path, log=lines.append).name == "graph-cut"
    assert "no usable SAM weights" in lines[-1]


def test_auto_leaves_damaged_weights_out_and_says_so(tmp_path):
    file = tmp_path / "weights" / WEIGHTS["sam-vit-l"].file
    file.parent.mkdir()
    file.write_bytes(b"not weights")
    lines = []
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


def test_unknown_names_are_refused_with_the_list():
    with pytest.raises(SegmenterError) as caught:
        make_segmenter("sam-vit-xxl")
    assert "graph-cut" in caught.value.cure

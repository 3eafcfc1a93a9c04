"""What the engine says of a capture is read, and what is wrong with it is said in a sentence."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from sa3d_blender.protocol.errors import CaptureError, StorageError
from sa3d_blender.scene.description import capture_description, read_capture_file


def test_it_holds_what_the_engine_said(described):
    found = capture_description(described)
    assert found.name == "table" and found.source.endswith("transforms.json")
    assert [view.stem for view in found.views] == ["a", "b", "c"]
    assert found.box == ((-1, -0.5, 0), (1, 0.5, 0.8))
    assert found.points is not None and found.points.shape == (3, 3) and found.points.dtype == np.float32
    assert found.colours is not None and found.colours.tolist()[1] == [0, 255, 0]
    assert found.views[2].model == "opencv" and found.views[0].model == "pinhole"


def test_arrays_may_come_beside_the_body(described):
    body = {key: value for key, value in described.items() if key not in ("points", "colours")}
    found = capture_description(body, np.ones((5, 3), np.float32), np.zeros((5, 3), np.uint8))
    assert found.points is not None and found.points.shape == (5, 3)


def test_a_results_file_is_a_capture_too(described, tmp_path):
    for key in ("box", "points", "colours", "warnings", "capture"):
        del described[key]
    path = tmp_path / "scene.json"
    path.write_text(json.dumps(described))
    found = read_capture_file(path)
    assert found.box is None and found.points is None and found.source == described["capture_root"]


def test_the_engines_own_description_of_a_capture_is_understood(tiny_capture, tmp_path):
    from engine.progress import Job
    from engine.server_body import plain
    from engine.server_capture import describe_capture

    answer = describe_capture(tiny_capture.folder, tmp_path, Job())
    found = capture_description(json.loads(json.dumps(plain(answer.body))), answer.arrays.get("points"))
    assert len(found.views) == 20 and found.box is not None


def test_what_is_no_json_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(StorageError, match="not a JSON file"):
        read_capture_file(tmp_path / "a.json")
    with pytest.raises(StorageError, match="can't be read"):
        read_capture_file(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.update(views=[]), "no views"),
        (lambda t: t["views"].append(copy.deepcopy(t["views"][0])), "share a stem"),
        (lambda t: t["views"][0].update(fl_x=0), "not positive"),
        (lambda t: t["views"][2].update(model="telescope"), "the lens telescope"),
        (lambda t: t["views"][2].update(distortion=[0.0] * 9), "9 numbers"),
        (lambda t: t["views"][2].update(distortion=[1e300]), "absurd"),
        (lambda t: t["views"][2].update(cx=-1e12), "absurd"),
        (lambda t: t.update(box={"low": [0, 0, 0], "high": [1, 1, 0]}), "corner of the box"),
        (lambda t: t.update(box={"low": [0, 0], "high": [1, 1]}), "corner of the box"),
        (lambda t: t.update(points=[[0, 1]]), "rows of three"),
        (lambda t: t.update(points=[[0, 1, "x"]]), "rows of numbers"),
        (lambda t: t.update(points=[[0, 1, float("nan")]] * 3), "finite"),
        (lambda t: t.update(colours=[[0, 0, 0]]), "one colour a point"),
        (lambda t: t.update(name=3), "name"),
    ],
)
def test_what_is_wrong_is_named(described, change, words):
    change(described)
    with pytest.raises(CaptureError, match=words):
        capture_description(described)
    with pytest.raises(CaptureError):
        capture_description([])

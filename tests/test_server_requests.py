"""What the add-on asks of the engine: captures described, views prompted, objects segmented, corrected, meshed."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from small_captures import write_transforms
from tiny_capture import BALL_CENTRE, BALL_RADIUS, HEIGHT, WIDTH, TinyCapture

from engine.fields.settings import PRESETS
from engine.server import Server
from engine.server_requests import request_kinds
from sa3d_blender.client.session import Callbacks, Session
from sa3d_blender.protocol.errors import FieldError
from sa3d_blender.protocol.framing import Buffer
from sa3d_blender.protocol.messages import Result
from tests.helpers.patience import patience

CLICKED = 4


class InProcess:
    """A transport to a server with the real requests on a thread of this process: presets can be made short."""

    def __init__(self, cache: Path) -> None:
        (self._engine_in, self._out), (self._in, self._engine_out) = os.pipe(), os.pipe()
        kinds = request_kinds("cpu", cache)
        self._server = Server(self._engine_read, lambda data: os.write(self._engine_out, data), kinds)

    def _engine_read(self, count: int) -> bytes:
        return os.read(self._engine_in, count)

    def _run(self) -> None:
        self._server.run()
        os.close(self._engine_out)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def read(self, count: int) -> bytes:
        return os.read(self._in, count)

    def write(self, data: Buffer) -> int | None:
        return os.write(self._out, data)

    def finish(self) -> None:
        os.close(self._out)

    def log_lines(self) -> list[str]:
        return []

    def ending(self, wait_s: float) -> str | None:
        self._thread.join(wait_s)
        return None if self._thread.is_alive() else "exit code 0"

    def close(self, deadline_s: float) -> None:
        self._thread.join(deadline_s)


@pytest.fixture
def session(own_cache):
    one = Session(lambda: InProcess(own_cache))
    one.start()
    yield one
    one.close()


@pytest.fixture
def ask(session) -> Callable[..., Result]:
    """Asks and returns the result; a failure fails the test."""

    def asked(kind: str, body: dict[str, Any] | None = None, **arrays: np.ndarray) -> Result:
        found = session.wait(session.request(kind, body, arrays))
        assert isinstance(found, Result), found
        return found

    return asked


@pytest.fixture
def refused(session):
    """Asks and returns the failure."""

    def asked(kind: str, body: dict[str, Any] | None = None, **arrays: np.ndarray):
        handle = session.request(kind, body, arrays)
        session.wait(handle)
        assert handle.failure is not None
        assert handle.failure.what.endswith(".")
        return handle.failure

    return asked


def array(result: Result, name: str) -> np.ndarray:
    raw = result.arrays[name]
    return np.frombuffer(raw.data, raw.dtype).reshape(raw.shape)


def test_what_the_engine_can_do(ask):
    body = ask("info").body
    assert body["device"]["type"] == "cpu"
    assert "cpu" in body["devices"]
    assert set(body["presets"]) == set(PRESETS)
    segmenters = {each["name"]: each for each in body["segmenters"]}
    assert segmenters["graph-cut"]["ready"]
    assert not segmenters["sam-vit-b"]["ready"]  # the cache is empty
    assert segmenters["sam-vit-b"]["licence"] == "Apache-2.0"
    assert segmenters["sam-vit-b"]["size"] > 3e8
    assert body["versions"]["torch"]


def test_the_doctor_speaks_here_too(ask):
    body = ask("doctor").body
    assert {"name", "ok", "detail", "cure"} <= set(body["findings"][0])
    assert {each["name"] for each in body["findings"]} >= {"python", "torch", "devices"}


def test_a_capture_is_described_as_a_result_describes_its_scene(ask, tiny_capture, tmp_path):
    from sa3d_blender.scene.description import capture_description, read_description

    body = ask("open_capture", {"path": str(tiny_capture.folder)}).body
    scene = tmp_path / "scene.json"
    scene.write_text(json.dumps(body))
    described = read_description(scene)  # the add-on's own reader
    assert [view.name for view in described.views] == list(tiny_capture.names)
    assert described.objects == ()
    np.testing.assert_allclose(described.views[3].world_from_camera, tiny_capture.world_from_camera[3])
    assert all(view.image.is_file() for view in described.views)
    assert body["views"][0]["model"] == "pinhole"
    assert body["box"]["kind"] == "inward"
    capture = capture_description(body)
    assert capture.source == str(tiny_capture.folder)
    low, high = np.array(capture.box)
    assert (low < BALL_CENTRE - BALL_RADIUS).all()
    assert (high > BALL_CENTRE + BALL_RADIUS).all()
    assert body["fields"] == {}


def test_sparse_points_come_along(ask, tmp_path):
    points = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    colours = np.tile(np.array([200, 100, 50, 255], np.uint8), (50, 1))
    usual = {"w": 16, "h": 12, "fl_x": 20.0, "fl_y": 20.0, "cx": 8.0, "cy": 6.0}
    write_transforms(tmp_path, **usual, ply_file_path="sparse.ply")
    assert any("left out" in line for line in ask("open_capture", {"path": str(tmp_path)}).body["warnings"])
    trimesh.PointCloud(points, colours).export(tmp_path / "sparse.ply")
    found = ask("open_capture", {"path": str(tmp_path)})
    np.testing.assert_allclose(array(found, "points"), points, atol=1e-6)
    assert (array(found, "colours") == [200, 100, 50]).all()
    (tmp_path / "sparse.ply").write_bytes(b"ply\nnonsense")
    assert "points" not in ask("open_capture", {"path": str(tmp_path)}).arrays


def test_a_click_gives_the_mask_of_one_view_without_a_field(ask, tiny_capture, own_cache):
    x, y = tiny_capture.centre_px("ball", CLICKED)
    body = {"capture": str(tiny_capture.folder), "view": "004", "segmenter": "graph-cut"}
    found = ask("prompt", {**body, "points": [[x, y, 1]]})
    mask = array(found, "mask") > 127
    assert mask.shape == (HEIGHT, WIDTH)
    truth = tiny_capture.masks["ball"][CLICKED]
    assert (mask & truth).sum() / (mask | truth).sum() > 0.8
    assert found.body["segmenter"] == "graph-cut"
    assert 0 < found.body["score"] <= 1
    assert not (own_cache / "fields").exists()
    # the second click asks only what is new
    again = ask("prompt", {**body, "points": [[x, y, 1], [5.0, 5.0, 0]]})
    assert again.body["view"] == "004"
    assert ask("prepare_view", {**body, "view": "005"}).body["view"] == "005"


def test_candidates_travel_with_their_scale(ask, tiny_capture, monkeypatch):
    from engine import server_preview
    from engine.segmenters.base import Candidate, Photo, Prediction, Prompts

    class Three:
        name, scales = "three", ("part", "object", "group")

        def __init__(self) -> None:
            self.asked: list[str | None] = []
            self.photos = 0

        def set_image(self, photo: Photo) -> None:
            self.photos += 1

        def predict(self, prompts: Prompts) -> Prediction:
            self.asked.append(prompts.scale)
            masks = [np.full((HEIGHT, WIDTH), share, np.float32) for share in (0.2, 0.6, 1.0)]
            several = tuple(Candidate(m, 0.5, s) for m, s in zip(masks, self.scales, strict=True))
            return Prediction(masks[1], 0.9, several)

    three = Three()
    monkeypatch.setattr(server_preview, "make_segmenter", lambda *_: three)
    body = {"capture": str(tiny_capture.folder), "view": "004", "points": [[9, 9, 1]]}
    found = ask("prompt", body)
    assert [each["scale"] for each in found.body["candidates"]] == ["part", "object", "group"]
    assert found.body["chosen"] == 1
    assert [int(array(found, f"candidate{i}").max()) for i in range(3)] == [51, 153, 255]
    ask("prompt", {**body, "scale": "part"})
    assert three.asked == [None, "part"]
    assert three.photos == 1  # the second click on a photo doesn't encode it again


def test_a_painted_mask_and_a_scribble_come_as_arrays(ask, refused, tiny_capture):
    body = {"capture": str(tiny_capture.folder), "view": "004", "segmenter": "graph-cut"}
    truth = tiny_capture.masks["ball"][CLICKED]
    found = ask("prompt", body, mask=(truth * 255).astype(np.uint8))
    np.testing.assert_array_equal(array(found, "mask") > 127, truth)
    strokes = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    x, y = (int(c) for c in tiny_capture.centre_px("ball", CLICKED))
    strokes[y - 1 : y + 2, x - 6 : x + 6] = (0, 255, 0, 255)
    found = ask("prompt", body, scribble=strokes)
    assert array(found, "mask")[y, x] > 127
    assert refused("prompt", body, mask=np.zeros((3, 3), np.float32)).code == "protocol"
    assert refused("prompt", body, mask=np.full((3, 3), 255, np.uint8)).code == "prompt"  # another size


@pytest.mark.parametrize(
    ("kind", "body", "code", "word"),
    [
        ("open_capture", {}, "protocol", '"path" is missing'),
        ("open_capture", {"path": 3}, "protocol", "absolute path"),
        ("open_capture", {"path": "relative"}, "protocol", "absolute path"),
        ("open_capture", {"path": "/no/such/capture"}, "capture", "no capture"),
        ("open_capture", {"path": "/tmp", "pathh": 1}, "protocol", "'pathh'"),
        ("train", {"capture": "CAPTURE", "quality": "perfect"}, "field", "perfect"),
        ("train", {"capture": "CAPTURE", "device": "abacus"}, "environment", "abacus"),
        ("train", {"capture": "CAPTURE", "region": [[0, 0, 0], [1, 0, 1]]}, "protocol", "region"),
        ("train", {"capture": "CAPTURE", "region": [[0, 0, 0], [1, 1, "x"]]}, "protocol", "region"),
        ("train", {"capture": "CAPTURE", "region": [0, 0, 0, 1, 1, 1]}, "protocol", "region"),
        ("train", {"capture": "CAPTURE", "masks": "some"}, "capture", "some"),
        ("train", {"capture": "CAPTURE", "masks": "object"}, "capture", "no masks"),
        ("prompt", {"capture": "CAPTURE", "view": "004"}, "prompt", "no prompt"),
        ("prompt", {"capture": "CAPTURE", "view": "nope", "points": [[1, 1, 1]]}, "prompt", "no view"),
        ("prompt", {"capture": "CAPTURE", "view": "004", "points": [[1, 1, 2]]}, "protocol", "points"),
        ("prompt", {"capture": "CAPTURE", "view": "004", "points": [[999, 1, 1]]}, "prompt", "outside"),
        ("prompt", {"capture": "CAPTURE", "view": "004", "box": [1, 2, 3]}, "protocol", "box"),
        ("prompt", {"capture": "CAPTURE", "view": "004", "points": [[1, 1, 1]], "segmenter": "x"}, "segmenter", "x"),
        ("segment", {"capture": "CAPTURE", "view": "004", "points": [[1, 1, 1]], "tau": 2}, "protocol", "tau"),
        ("segment", {"capture": "CAPTURE", "view": "004", "points": [[1, 1, 1]], "rule": "x"}, "prompt", "rule"),
        ("segment", {"capture": "CAPTURE", "view": "004"}, "prompt", "no prompt"),
        ("correct", {"result": "/tmp", "view": "004", "points": [[1, 1, 1]]}, "storage", "report.json"),
        ("undo", {"result": "/no/such"}, "storage", "report.json"),
        ("mesh", {"result": "/no/such", "lambda": -1}, "protocol", "lambda"),
        ("mask", {"result": "/no/such", "view": "004"}, "storage", "mask"),
        ("shape", {"result": "/no/such"}, "storage", "report.json"),
        ("weights_get", {"name": "sam-9"}, "segmenter", "sam-9"),
    ],
)
def test_bad_requests_are_refused_with_what_and_cure(refused, tiny_capture, kind, body, code, word):
    body = {key: str(tiny_capture.folder) if value == "CAPTURE" else value for key, value in body.items()}
    failure = refused(kind, body)
    assert (failure.code, word in failure.what) == (code, True), failure
    assert failure.cure


def test_training_is_cancelled_within_a_second_and_short_requests_go_on_meanwhile(
    session, ask, tiny_capture, monkeypatch
):
    endless = replace(PRESETS["draft"], steps=100_000, rays=1024, sides=(32, 48), upsample_at=(50,))
    monkeypatch.setitem(PRESETS, "draft", endless)
    x, y = tiny_capture.centre_px("ball", CLICKED)
    prompt = {"capture": str(tiny_capture.folder), "view": "004", "points": [[x, y, 1]], "segmenter": "graph-cut"}
    ask("prompt", prompt)  # loads what it needs
    lines: list[str] = []
    callbacks = Callbacks(log=lambda h, line: lines.append(line))
    handle = session.request("train", {"capture": str(tiny_capture.folder)}, callbacks=callbacks)
    until = time.monotonic() + 60
    while not (handle.progress and handle.progress.stage == "Training field" and handle.progress.fraction > 0):
        assert time.monotonic() < until
        session.pump()
        time.sleep(0.01)  # the engine is a thread here: it wants the interpreter too
    assert handle.progress.seconds_left > 0
    ask("prompt", prompt)
    assert handle.is_open
    started = time.monotonic()
    handle.cancel()
    assert session.wait(handle).cancelled
    assert time.monotonic() - started < patience(1)
    assert any("Training a draft field" in line for line in lines)


def test_a_region_of_interest_reaches_the_training(refused, tiny_capture: TinyCapture, monkeypatch: pytest.MonkeyPatch):
    from engine import api, train

    boxes = []

    def recorded(capture, quality, options, job, out=None, kind="tensorf", again=False, refine_poses=False, box=None):
        boxes.append(box)
        raise FieldError("It is enough.", "Go home.")

    monkeypatch.setattr(api, "train", recorded)
    monkeypatch.setattr(train, "train", recorded)
    request = {"capture": str(tiny_capture.folder), "region": [[-1, -1, 0], [1, 1, 0.5]]}
    assert refused("train", request).what == "It is enough."
    clicked = request | {"view": "004", "points": [[30, 30, 1]]}
    assert refused("segment", clicked).what == "It is enough."
    assert boxes == [((-1.0, -1.0, 0.0), (1.0, 1.0, 0.5))] * 2


def test_from_a_click_to_a_mesh_that_grows_is_corrected_and_put_back(
    session, ask, refused, tiny_capture: TinyCapture, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    short = replace(PRESETS["draft"], steps=300, rays=1024, sides=(32, 48), upsample_at=(120,))
    monkeypatch.setitem(PRESETS, "draft", short)
    capture = str(tiny_capture.folder)
    trained = ask("train", {"capture": capture}).body
    assert not trained["from_cache"]
    assert np.isfinite(trained["heldout_psnr_db"])
    assert ask("open_capture", {"path": capture}).body["fields"] == {"draft": trained["field"]}

    out = tmp_path / "object ü"
    x, y = tiny_capture.centre_px("ball", CLICKED)
    stages: list[str] = []
    callbacks = Callbacks(progress=lambda h, p: stages.append(p.stage))
    clicks = [[x, y, 1], [x + 4, y + 3, 1]]
    wanted = {"capture": capture, "view": "004", "points": clicks, "segmenter": "graph-cut", "out": str(out)}
    done = session.wait(session.request("segment", wanted, callbacks=callbacks))
    assert isinstance(done, Result), done
    assert "Training field" not in stages
    assert "Carrying the mask from view to view" in stages
    assert done.body["result"] == str(out)
    assert array(done, "glb").tobytes() == (out / "object.glb").read_bytes()
    assert done.body["scene"] == json.loads((out / "scene.json").read_text())
    assert done.body["report"]["accepted"] > 5

    mask = array(ask("mask", {"result": str(out), "view": "007"}), "mask")
    with Image.open(out / "masks/007.png") as image:
        np.testing.assert_array_equal(mask, np.asarray(image))

    grown = ask("mesh", {"result": str(out), "lambda": 0.2, "out": str(tmp_path / "grown.glb")})
    assert _volume(array(grown, "glb")) > _volume(array(done, "glb"))

    # the slider: rough, of the same place and size, and fast once the object is in memory
    volumes = []
    for lam in (0.2, 1.0, 5.0):
        started = time.monotonic()
        shape = ask("shape", {"result": str(out), "lambda": lam})
        seconds = time.monotonic() - started
        rough = trimesh.Trimesh(array(shape, "vertices"), array(shape, "faces"), process=False)
        assert array(shape, "colours").shape == (len(rough.vertices), 4)
        assert rough.is_watertight
        volumes.append(rough.volume)
    assert volumes == sorted(volumes, reverse=True)
    assert 0.6 < volumes[1] / _volume(array(done, "glb")) < 1.6  # a ball of some 13 voxels across
    assert seconds < patience(1)

    more = [[*tiny_capture.centre_px("ball", 12), 1]]
    corrected = ask("correct", {"result": str(out), "view": "012", "points": more})
    assert [each["view"] for each in corrected.body["report"]["corrections"]] == ["012"]
    assert len(corrected.body["scene"]["objects"][0]["prompts"]) == 3
    assert ask("undo", {"result": str(out)}).body["report"]["corrections"] == []
    assert "no correction" in refused("undo", {"result": str(out)}).what

    # without a folder the engine keeps the result in its cache, and the mesh travels all the same
    del wanted["out"]
    kept = ask("segment", {**wanted, "beside": [str(out)], "points": [[*tiny_capture.centre_px("box", CLICKED), 1]]})
    assert Path(kept.body["result"]).is_relative_to(own_cache)
    assert ask("cache_size").body["bytes"] > 0
    assert ask("cache_clear").body["bytes_freed"] > 0
    assert ask("open_capture", {"path": capture}).body["fields"] == {}


def _volume(glb: np.ndarray) -> float:
    import io

    found = trimesh.load(io.BytesIO(glb.tobytes()), file_type="glb", force="mesh")
    assert isinstance(found, trimesh.Trimesh)
    return abs(float(found.volume))


def test_weights_are_listed_and_removed(ask, refused, own_cache):
    listed = {each["name"]: each for each in ask("weights_list").body["weights"]}
    assert listed["sam-vit-b"]["state"] == "missing"
    folder = own_cache / "weights"
    folder.mkdir(parents=True)
    Path(listed["sam-vit-b"]["path"]).write_bytes(b"cut")
    assert ask("weights_remove", {"name": "sam-vit-b"}).body["bytes_freed"] == 3
    with pytest.raises(KeyError):
        ask("weights_list").body["nothing"]


def test_weights_come_from_a_mirror_on_request(ask, refused, tmp_path):
    failure = refused("weights_get", {"name": "sam-vit-b", "mirror": "http://127.0.0.1:9/"})
    assert failure.code in ("storage", "environment", "segmenter")
    assert failure.cure


def test_every_kind_of_request_is_documented(own_cache):
    page = (Path(__file__).resolve().parents[1] / "docs/protocol.md").read_text(encoding="utf-8")
    table = page.split("## Requests")[1].split("## The client")[0]
    documented = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert documented == set(request_kinds("cpu", own_cache))

"""The main job from photos to a mesh: clicks in one photo give masks of all views and a solid in the right place."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from safetensors.numpy import load_file
from tiny_capture import BALL_CENTRE, BALL_RADIUS, HEIGHT, WIDTH, TinyCapture

from engine import api
from engine.evaluation.metrics import iou
from engine.fields.settings import PRESETS
from engine.meshing.export import read_mesh
from engine.meshing.surface_parts import vertex_colours
from engine.meshing.texture import TextureSettings
from engine.progress import Job, Report
from engine.prompts import UserPrompt
from sa3d_blender.protocol.errors import PromptError

CLICKED = 4


def test_two_clicks_on_the_ball_become_its_masks_and_its_mesh(
    tiny_capture: TinyCapture, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    short = replace(PRESETS["draft"], steps=300, rays=1024, sides=(32, 48), upsample_at=(120,))
    monkeypatch.setitem(PRESETS, "draft", short)
    before = _everything_in(tiny_capture.folder)
    x, y = tiny_capture.centre_px("ball", CLICKED)
    prompt = UserPrompt("004.png", ((x, y, 1), (x + 4.0, y + 3.0, 1)))
    request = api.SegmentOptions(segmenter="graph-cut")
    options = api.Options(own_cache, "cpu", seed=0)
    reports: list[Report] = []
    lines: list[str] = []
    job = Job(listener=reports.append, log=lines.append)
    out = tmp_path / "result"

    returned: dict[str, Any] = api.segment_capture(tiny_capture.folder, prompt, request, options, out, job)

    # masks of every view, at the photos' size, that agree with the truth
    stems = [Path(name).stem for name in tiny_capture.names]
    assert sorted(path.stem for path in (out / "masks").iterdir()) == stems
    agreement = []
    for i, stem in enumerate(stems):
        with Image.open(out / "masks" / f"{stem}.png") as image:
            assert image.size == (WIDTH, HEIGHT)
            assert image.mode == "L"
            agreement.append(iou(np.asarray(image) > 127, tiny_capture.masks["ball"][i]))
    assert np.mean(np.delete(agreement, CLICKED)) > 0.8, agreement

    # the mesh: one solid where the ball is
    mesh = _mesh(out / "object.glb")
    assert mesh.is_watertight
    _assert_near_the_ball(mesh)

    # the report: what was done, with what, in what time
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["segmenter"] == "graph-cut"
    assert report["field_from_cache"] is False
    verdicts = [view["verdict"] for view in report["views"].values()]
    assert sorted(report["views"]) == stems
    assert report["views"]["004"]["verdict"] == "prompted"
    assert report["accepted"] == verdicts.count("accepted") >= 10
    assert report["accepted"] + report["rejected"] + report["not_visible"] == 19
    assert {"Reading photos", "Training field", "Rendering masks"} <= set(report["seconds"])
    assert all(seconds > 0 for seconds in report["seconds"].values())
    assert report["seconds_total"] >= report["seconds"]["Training field"]
    assert report["settings"]["seed"] == 0
    assert math.isfinite(report["field"]["heldout_psnr_db"])
    assert report["mesh"]["watertight"] is True
    assert report["mesh"]["faces"] == returned["mesh"]["faces"] == len(mesh.faces)
    assert report["versions"]["torch"]

    # the masks over some photos, at a glance: the clicked one first
    with Image.open(out / "overview.png") as sheet:
        assert sheet.width > 4 * 360 and sheet.height > 400
        colours = np.asarray(sheet.convert("RGB")).reshape(-1, 3).astype(int)
    assert (np.abs(colours - (255, 150, 40)).max(axis=1) < 3).sum() > 100  # outlines

    # what Blender reads: all cameras, and the clicks as places at the ball
    scene = json.loads((out / "scene.json").read_text(encoding="utf-8"))
    assert [view["stem"] for view in scene["views"]] == stems
    for click in scene["objects"][0]["prompts"]:
        # so short a training leaves the ball foggy, and light stops in it rather than on it
        assert np.linalg.norm(np.array(click["point_world"]) - BALL_CENTRE) < 1.2 * BALL_RADIUS

    # progress was shown all along, and nothing was written into the capture
    assert sum(report.stage == "Training field" for report in reports) > 10
    assert reports[-1].done == reports[-1].total
    assert _everything_in(tiny_capture.folder) == before

    _a_second_run_finds_the_field(tiny_capture, prompt, request, options, tmp_path / "again")
    _with_a_texture_it_is_the_same_solid_in_the_photos_colours(
        tiny_capture, prompt, request, options, tmp_path / "textured", mesh
    )
    _the_mesh_can_be_made_again(out, options, tmp_path / "grown.glb", mesh)
    _a_correction_can_be_made_and_taken_back(tiny_capture, out, options)
    _a_neighbour_shares_nothing_with_it(tiny_capture, request, options, out, tmp_path / "box")


def _a_second_run_finds_the_field(
    capture: TinyCapture, prompt: UserPrompt, request: api.SegmentOptions, options: api.Options, out: Path
) -> None:
    job = Job()
    report = api.segment_capture(capture.folder, prompt, request, options, out, job)
    assert report["field_from_cache"] is True
    assert "Training field" not in job.timings
    assert (out / "report.json").is_file()


def _with_a_texture_it_is_the_same_solid_in_the_photos_colours(
    capture: TinyCapture,
    prompt: UserPrompt,
    request: api.SegmentOptions,
    options: api.Options,
    out: Path,
    before: trimesh.Trimesh,
) -> None:
    job = Job()
    report = api.segment_capture(
        capture.folder, prompt, replace(request, texture=TextureSettings(128)), options, out, job
    )
    assert {"Unwrapping", "Baking the texture"} <= set(job.timings) and "Colouring the mesh" not in job.timings
    assert report["mesh"]["texture_px"] == 128 and report["mesh"]["watertight"] is True
    assert report["mesh"]["observed"] > 0.3
    made = read_mesh(out / "object.glb")
    assert len(made.faces) == len(before.faces)
    baked = vertex_colours(made)
    assert baked is not None
    shown = [
        np.asarray(Image.open(capture.folder / name).convert("RGB"))[mask]
        for name, mask in zip(capture.names, capture.masks["ball"], strict=True)
    ]
    # Its sides are lit differently, so only the tint is compared: what stands around it is less red by 0.1 and more.
    photo, texture = (np.median(each, axis=0) for each in (np.concatenate(shown), baked[:, :3]))
    assert np.abs(photo / photo.sum() - texture / texture.sum()).max() < 0.06


def _the_mesh_can_be_made_again(result: Path, options: api.Options, out: Path, before: trimesh.Trimesh) -> None:
    job = Job()
    assert api.mesh_again(result, options, job, level=0.3, lam=None, out=out) == out
    grown = _mesh(out)
    assert "Training field" not in job.timings
    assert grown.is_watertight
    assert grown.volume > before.volume  # a lower level lets more in
    _assert_near_the_ball(grown)


def _a_correction_can_be_made_and_taken_back(capture: TinyCapture, result: Path, options: api.Options) -> None:
    before = load_file(result / "object.safetensors")
    x, y = capture.centre_px("ball", 12)
    with pytest.raises(PromptError, match="graph-cut can't tell scales apart"):
        api.correct_result(result, UserPrompt("012.png", ((x, y, 1),)), options, Job(), scale="part")
    report = api.correct_result(result, UserPrompt("012.png", ((x, y, 1),)), options, Job())
    assert [entry["view"] for entry in report["corrections"]] == ["012"]
    assert report["views"]["012"]["verdict"] == "prompted"
    assert len(json.loads((result / "scene.json").read_text(encoding="utf-8"))["objects"][0]["prompts"]) == 3
    _assert_near_the_ball(_mesh(result / "object.glb"))
    report = api.undo_result(result, options, Job())
    assert report["corrections"] == []
    after = load_file(result / "object.safetensors")
    assert set(after) == set(before)
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
    assert len(json.loads((result / "scene.json").read_text(encoding="utf-8"))["objects"][0]["prompts"]) == 2
    with pytest.raises(PromptError, match="no correction"):
        api.undo_result(result, options, Job())


def _a_neighbour_shares_nothing_with_it(
    capture: TinyCapture, request: api.SegmentOptions, options: api.Options, ball: Path, out: Path
) -> None:
    x, y = capture.centre_px("box", 0)
    api.segment_capture(capture.folder, UserPrompt("000.png", ((x, y, 1),)), request, options, out, Job(), [ball])
    taken = []
    for folder in (ball, out):
        workspace, _, kept = api.reopen(folder, options, Job())
        taken.append(kept.stored.probability() > 0.5)
    assert workspace.voxels.count == len(taken[0])
    assert taken[0].any()
    assert taken[1].any()
    assert not (taken[0] & taken[1]).any()


def _mesh(path: Path) -> trimesh.Trimesh:
    """A GLB back in the capture's axes: glTF's +Y up becomes +Z up."""
    loaded = trimesh.load(path, force="mesh")
    assert isinstance(loaded, trimesh.Trimesh)
    loaded.merge_vertices(merge_tex=True, merge_norm=True)
    turned = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    return loaded.apply_transform(turned)


def _assert_near_the_ball(mesh: trimesh.Trimesh) -> None:
    """Every side of the bounding box within 15 % of the ball's diameter: about 2 cells of a 48^3 grid."""
    truth = np.stack([BALL_CENTRE - BALL_RADIUS, BALL_CENTRE + BALL_RADIUS])
    np.testing.assert_allclose(mesh.bounds, truth, atol=0.15 * 2 * BALL_RADIUS)


def _everything_in(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}

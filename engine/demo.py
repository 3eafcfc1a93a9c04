"""The demo: the main job from nothing but the repository and its packages, compared with the truth at the end.

Everything that needs Blender runs in a process of its own; the engine never imports bpy.
"""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.table import Table

from engine.api import Options, Segmented, SegmentOptions, open_workspace, render_masks, segment, write_result
from engine.blender_process import run_blender_module
from engine.cache import write_json
from engine.captures.load import load_capture
from engine.console import table_console
from engine.contact_sheet import Tile, contact_sheet, draw_prompts, overlay_mask
from engine.evaluation.masks import ious, mask_tasks
from engine.evaluation.metrics import chamfer_distance, f_score
from engine.evaluation.truth import Truth, read_truth
from engine.meshing.texture import TextureSettings
from engine.progress import Job
from engine.prompts import UserPrompt
from engine.workspace import Workspace
from sa3d_blender.protocol.errors import StorageError

SHEET_VIEWS = 4


def run_demo(out: Path, views: int, options: Options, job: Job) -> dict[str, Any]:
    """Renders a capture with its truth, then does and measures the main job; returns the figures.

    ``out`` gets ``scene/`` (capture and truth), ``object/`` and ``second/`` (results), ``object.glb``, ``scene.blend``,
    ``contact-sheet.png`` and ``demo.json``.
    """
    started = time.perf_counter()
    out = out.absolute()
    scene = out / "scene"
    shutil.rmtree(scene, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    arguments = ["render", "--out", str(scene), "--views", str(views), "--seed", str(options.seed)]
    run_blender_module("sa3d_blender.demo", arguments, job, "Rendering the demo's photos")

    capture, truth = load_capture(scene / "capture"), read_truth(scene / "truth")
    clicks = json.loads((scene / "truth" / "clicks.json").read_text(encoding="utf-8"))
    # drafts have coloured vertices, too few of them for a wall of bricks
    request = SegmentOptions(texture=TextureSettings())
    workspace, trained = open_workspace(capture, options, request, job)

    results: dict[str, Any] = {}
    made: dict[str, tuple[Segmented, UserPrompt]] = {}
    for role, folder in (("main", out / "object"), ("second", out / "second")):
        begun = time.perf_counter()
        own = Job(job.listener, job.log, job.cancel)
        points = tuple((float(x), float(y), 1) for x, y in clicks[role]["points"])
        prompt = UserPrompt(clicks[role]["view"], points)
        name = clicks[role]["object"]
        job.log(f"Segmenting the {name} from {len(points)} clicks in {prompt.view}.")
        done = segment(workspace, prompt, request, options, own)
        done.report["field_folder"] = str(trained.folder)
        done.report["capture"] = str(scene / "capture")
        write_result(workspace, done, prompt, trained, folder, own)
        seconds = time.perf_counter() - begun
        made[role] = (done, prompt)
        results[role] = {
            "object": name,
            "seconds": seconds,
            "stages": dict(own.timings),
            "segmenter": done.report["segmenter"],
        }
        results[role] |= _compare(workspace, done, truth, name, prompt)
    job.timings.update(results["main"]["stages"])

    done, prompt = made["main"]
    shutil.copyfile(out / "object" / "object.glb", out / "object.glb")
    description = out / "object" / "scene.json"
    blend = out / "scene.blend"
    run_blender_module(
        "sa3d_blender.deliver", ["blend", "--scene", str(description), "--out", str(blend)], job, "Writing scene.blend"
    )
    pictures = _mesh_pictures(out, description, prompt, job)
    _sheet(out / "contact-sheet.png", workspace, done, prompt, results["main"], pictures)
    report = {
        "out": str(out),
        "views": len(capture.views),
        "heldout_psnr_db": workspace.trained.mean_heldout_psnr_db,
        "objects": results,
        "seconds": dict(job.timings),
        "seconds_total": time.perf_counter() - started,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    write_json(out / "demo.json", report)
    return report


def _compare(workspace: Workspace, done: Segmented, truth: Truth, name: str, prompt: UserPrompt) -> dict[str, Any]:
    stem = next(s for s, v in workspace.views.items() if v.name.endswith(prompt.view) or s == prompt.view)
    task = next(t for t in mask_tasks(workspace.capture, truth, [name], stem))
    single = render_masks(workspace, done.lifted.single_view(), Job())
    found = [ious(task, masks) for masks in (done.masks, single)]
    chamfer, score = chamfer_distance(done.mesh, truth.mesh(name)), f_score(done.mesh, truth.mesh(name))
    return {
        "iou": float(np.mean(found[0])),
        "worst_iou": min(found[0]),
        "views": len(found[0]),
        "single_view_iou": float(np.mean(found[1])),
        "chamfer": asdict(chamfer),
        "f_score": asdict(score),
        "accepted": done.report["accepted"],
        "rejected": done.report["rejected"],
    }


def _mesh_pictures(out: Path, description: Path, prompt: UserPrompt, job: Job) -> list[tuple[str, Path]]:
    """Renders of the mesh: from the prompted camera and from two sides."""
    pictures: list[tuple[str, Path]] = []
    shots = [
        ("Mesh, same camera", ["--view", Path(prompt.view).stem]),
        ("Mesh, from the left", ["--orbit", "-60,25"]),
        ("Mesh, from behind", ["--orbit", "150,35"]),
    ]
    for title, where in shots:
        path = out / "object" / f"mesh-{len(pictures)}.png"
        arguments = ["picture", "--scene", str(description), "--out", str(path), *where]
        run_blender_module("sa3d_blender.deliver", arguments, job, "Rendering the mesh")
        if not path.is_file():
            raise StorageError(f"The picture {path} was not written.", "Look at the log above.")
        pictures.append((title, path))
    return pictures


def _sheet(
    path: Path,
    workspace: Workspace,
    done: Segmented,
    prompt: UserPrompt,
    figures: dict[str, Any],
    pictures: Sequence[tuple[str, Path]],
) -> None:
    """Photo, prompts, masks in several views, renders of the mesh, and the figures."""
    stem = next(s for s, v in workspace.views.items() if v.name.endswith(prompt.view) or s == prompt.view)
    photo = workspace.photo(stem)
    points = np.array([p[:2] for p in prompt.points], np.float32)
    labels = np.array([p[2] for p in prompt.points])
    first = done.lifted.seed.mask
    tiles = [Tile(f"Photo {stem} and two clicks", draw_prompts(photo, points, labels))]
    tiles.append(Tile("2D mask from the clicks", overlay_mask(photo, first, (255, 150, 30))))
    others = [s for s in workspace.views if s != stem and done.masks[s].max() > 0.5]
    for other in [others[i] for i in np.linspace(0, len(others) - 1, SHEET_VIEWS).astype(int)]:
        result = done.lifted.views.get(other)
        verdict = result.verdict if result is not None else "not asked"
        tiles.append(
            Tile(f"View {other}: {verdict}", overlay_mask(workspace.photo(other), done.masks[other], (255, 150, 30)))
        )
    for title, picture in pictures:
        with Image.open(picture) as image:
            tiles.append(Tile(title, np.asarray(image.convert("RGB"))))
    rows = [
        ("Held-out PSNR", f"{workspace.trained.mean_heldout_psnr_db:.1f} dB"),
        ("Mean IoU, other views", f"{figures['iou']:.3f} (one view alone: {figures['single_view_iou']:.3f})"),
        ("F-score at 2 %", f"{figures['f_score']['score']:.3f}"),
        ("Chamfer distance", f"{100 * figures['chamfer']['fraction']:.2f} % of the diagonal"),
    ]
    contact_sheet(tiles, path, columns=3, heading=f"SA3D demo: {figures['object']}", table=rows)


def print_demo_table(report: dict[str, Any]) -> None:
    """The demo's figures as a table on standard output."""
    table = Table(title=f"SA3D demo: {report['views']} views, held-out PSNR {report['heldout_psnr_db']:.2f} dB")
    for name in ("object", "mean IoU", "worst", "one view alone", "chamfer", "F @ 2 %", "seconds"):
        table.add_column(name, justify="left" if name == "object" else "right")
    for row in report["objects"].values():
        table.add_row(
            f"{row['object']} ({row['segmenter']})",
            f"{row['iou']:.3f}",
            f"{row['worst_iou']:.3f}",
            f"{row['single_view_iou']:.3f}",
            f"{row['chamfer']['distance']:.4f} ({100 * row['chamfer']['fraction']:.2f} %)",
            f"{row['f_score']['score']:.3f}",
            f"{row['seconds']:.0f}",
        )
    console = table_console()
    console.print(table)
    stages = Table(title="Seconds per stage")
    stages.add_column("stage")
    stages.add_column("s", justify="right")
    for name, seconds in report["seconds"].items():
        stages.add_row(name, f"{seconds:.1f}")
    stages.add_section()
    stages.add_row("total", f"{report['seconds_total']:.0f}")
    console.print(stages)
    console.print(f"Peak memory {report['peak_memory_mb']:.0f} MB. Everything is in {report['out']}.")

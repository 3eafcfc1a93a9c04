"""A field that another program trained, taken as a capture's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.cache import Cache, storage_errors
from engine.captures.bounds import SceneBox, scene_box
from engine.captures.capture import Capture
from engine.captures.images import photo_key
from engine.devices import pick_device
from engine.fields.checkpoint import MEANING, TENSORS, has_field, save_field
from engine.fields.heldout import HeldOut, heldout_psnr_db
from engine.fields.imports.dvgo_checkpoint import dvgo_field, is_dvgo
from engine.fields.imports.imported import ImportedField
from engine.fields.imports.reading import read_checkpoint, refusal
from engine.fields.imports.tensorf_checkpoint import is_tensorf, tensorf_field
from engine.fields.scene_grid import build_grid
from engine.fields.settings import PRESETS
from engine.fields.training import TrainedField
from engine.options import Options
from engine.out_folder import refuse_capture
from engine.photo_copies import PhotoCopies
from engine.progress import Job
from engine.train import MOST_HELD_OUT, Trained, field_name, split_views
from engine.workspace import working_photo
from sa3d_blender.protocol.errors import FieldError

__all__ = ["BACKGROUNDS", "IMPORTED_AS", "import_field"]

IMPORTED_AS = "good"  # the quality whose working sizes an imported field has, and under which segmenting finds it
BACKGROUNDS = ("white", "black")
STRANGE_DB = 15.0  # of PSNR: below it the photos show something else, or the cameras are in another world


def import_field(
    capture: Capture,
    path: Path,
    options: Options,
    job: Job,
    out: Path | None = None,
    again: bool = False,
    background: str = "white",
) -> Trained:
    """A TensoRF (`.th`) or DirectVoxGO (`.tar`) checkpoint as a field of the capture whose cameras it was trained with.

    It goes where a field of quality "good" belongs, and so segmenting with that quality finds it. The box of interest
    is the checkpoint's; how well the field predicts the photos is measured and told, since a checkpoint doesn't say
    which photos it was trained on.

    Args:
        out: a folder for the field instead of the cache's. again: replace a field that was trained there.
        background: "white" or "black", what the checkpoint was trained with behind the scene.

    Raises:
        FieldError: the file isn't such a checkpoint, or of a kind that isn't supported; or a trained field is there.
        CaptureError: a photo can't be read.
        StorageError: the folder can't be written.
    """
    if background not in BACKGROUNDS:
        raise FieldError(f"There is no background called '{background}'.", f"Choose one of: {', '.join(BACKGROUNDS)}.")
    cache = Cache(options.cache)
    device = pick_device(options.device)
    key = cache.capture_key(capture)
    usual = cache.folder("fields", field_name(key, IMPORTED_AS, options.seed))
    folder = out if out is not None else usual
    if out is not None:
        refuse_capture(out, capture.root)
    if not again and _was_trained(folder):
        raise FieldError(
            f"There is a field that was trained here already, in {folder}.", "Add --again to replace it, or give --out."
        )
    with job.stage("Reading checkpoint"):
        model = _read(capture, path, background == "white")
    name = "TensoRF" if model.inner.kind != "voxels" else "DirectVoxGO"
    job.log(f"{path.name} is a field of {name}, {' x '.join(map(str, model.resolution))} nodes.")
    model = model.to(device).eval()
    settings = PRESETS[IMPORTED_AS]
    box = SceneBox(model.aabb.cpu().numpy().astype(np.float64), "object")
    field = TrainedField(model, build_grid(model, settings.occupancy_side), box, settings, IMPORTED_AS)
    field = _measured(field, model.white, capture, PhotoCopies(cache, job.log), job)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    save_field(field, folder, key)
    where = f"`--field {folder}`" if out is not None else f"`--quality {IMPORTED_AS}`"
    job.log(f"Segment with {where} to use it.")
    return Trained(field, folder, photo_key(folder / TENSORS)[:32], False)


def _was_trained(folder: Path) -> bool:
    """Whether a folder holds a field that took training to make."""
    if not has_field(folder):
        return False
    try:
        return bool(json.loads((folder / MEANING).read_text(encoding="utf-8"))["kind"] != ImportedField.kind)
    except (OSError, ValueError, LookupError, TypeError):
        return False  # a damaged one is nothing to keep


def _read(capture: Capture, path: Path, white: bool) -> ImportedField:
    checkpoint = read_checkpoint(path)
    if is_dvgo(checkpoint):
        return dvgo_field(checkpoint, path.name, white)
    if not is_tensorf(checkpoint):
        raise refusal(f"{path.name} is neither a checkpoint of TensoRF nor one of DirectVoxGO.")
    if scene_box(capture).kind == "forward":
        raise refusal(
            f"{path.name} can't be imported: the capture is seen from the front, and such ones TensoRF trains in "
            "normalised device coordinates, which its file doesn't tell.",
            "Train a field with `sa3d train`.",
        )
    return tensorf_field(checkpoint, path.name, white)


def _measured(field: TrainedField, white: bool, capture: Capture, copies: PhotoCopies, job: Job) -> TrainedField:
    """The field with the PSNR of held-out views, or of any where none are.

    Photos with alpha are laid on what lies behind the field, white or black.
    """
    views = split_views(capture)[1] or list(capture.views)
    picked = [views[i] for i in np.unique(np.linspace(0, len(views) - 1, MOST_HELD_OUT).astype(int))]
    pairs = [working_photo(view, field.settings.max_side_px, copies) for view in picked]
    behind = 1.0 if white else 0.0
    images = [i[..., :3] + behind * (1 - i[..., 3:]) if i.shape[2] == 4 else i for _, i in pairs]
    heldout = HeldOut([v.name for v in picked], [camera for camera, _ in pairs], images)
    found = heldout_psnr_db(field.model, field.grid, field.settings.rendering, heldout, job)
    field = replace(field, heldout_psnr_db=found)
    job.log(f"PSNR: {field.mean_heldout_psnr_db:.2f} dB over {len(picked)} views.")
    if field.mean_heldout_psnr_db < STRANGE_DB:
        job.log(
            "Warning: the field hardly shows what the photos do. It may belong to another capture, its cameras may be "
            "in another world than these, or its background isn't the one given with --background."
        )
    return field

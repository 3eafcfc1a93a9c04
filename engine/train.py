"""Training a field on a capture, or finding one; and a capture opened with its field."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from engine.cache import Cache, remove_leftovers, storage_errors
from engine.captures.bounds import scene_box
from engine.captures.capture import Camera, Capture, View
from engine.captures.images import photo_key
from engine.captures.scene_masks import used_masks, with_masks
from engine.devices import describe, pick_device
from engine.fields.checkpoint import (
    MEANING,
    TENSORS,
    has_field,
    load_field,
    masks_of,
    refuse_another_captures,
    save_field,
    write_meaning,
)
from engine.fields.cost import available_bytes, needed_bytes, refuse_without_memory
from engine.fields.heldout import HeldOut, heldout_psnr_db, spread_numbers
from engine.fields.imports.imported import ImportedField
from engine.fields.kinds import kind_of
from engine.fields.pixels import as_bytes
from engine.fields.resume import NAME as UNFINISHED
from engine.fields.resume import Keeper
from engine.fields.settings import Corner, TrainingSettings
from engine.fields.training import TrainedField, train_field
from engine.options import Options, SegmentOptions
from engine.out_folder import refuse_capture, refuse_others
from engine.photo_copies import PhotoCopies
from engine.progress import Job, Stage
from engine.workspace import Workspace, counted_pixels, working_photo
from sa3d_blender.protocol.errors import FieldError

HELD_OUT_EVERY = 8
MOST_HELD_OUT = 8


@dataclass(frozen=True)
class Trained:
    """A trained field, its folder, its key, and whether it was found rather than trained now."""

    field: TrainedField
    folder: Path
    key: str
    from_cache: bool


def split_views(capture: Capture) -> tuple[list[View], list[View]]:
    """(training views, held-out views): the capture's own split, else every eighth from the first on is held out."""
    named = [v for v in capture.views if v.split != "train"]
    if named and len(named) < len(capture.views):
        return [v for v in capture.views if v.split == "train"], named
    if len(capture.views) < 2 * HELD_OUT_EVERY:
        return list(capture.views), []
    return (
        [v for i, v in enumerate(capture.views) if i % HELD_OUT_EVERY],
        list(capture.views[::HELD_OUT_EVERY]),
    )


def field_name(capture_key: str, quality: str, seed: int, kind: str = "tensorf") -> str:
    """The folder of a trained field in the cache."""
    return f"{capture_key}-{quality}-{seed}" + ("" if kind == "tensorf" else f"-{kind}")


def preset(quality: str, kind: str = "tensorf") -> TrainingSettings:
    """Training settings by name of quality and kind. Raises FieldError for a name that isn't one."""
    presets = kind_of(kind).presets
    if quality not in presets:
        raise FieldError(f"There is no quality called '{quality}'.", f"Choose one of: {', '.join(presets)}.")
    return presets[quality]


def train(
    capture: Capture,
    quality: str,
    options: Options,
    job: Job,
    out: Path | None = None,
    kind: str = "tensorf",
    again: bool = False,
    refine_poses: bool = False,
    box: tuple[Corner, Corner] | None = None,
) -> Trained:
    """Trains a field on a capture, or finds it in the cache (or in ``out``).

    ``refine_poses`` learns small corrections of the cameras, too; what is segmented with that field uses them. ``box``
    is the region of interest, in which the field keeps its detail, instead of the one that the cameras suggest.

    Raises:
        FieldError: the kind or quality doesn't exist, or training failed, or another field is in ``out``.
        StorageError: ``out`` lies in the capture, holds other things, or can't be written.
        CaptureError: a photo can't be read.
    """
    if box is not None:
        _check_box(box)
    settings = replace(preset(quality, kind), refine_poses=refine_poses, box=box)
    cache = Cache(options.cache)
    device = pick_device(options.device)
    key = cache.capture_key(capture)
    field_key = field_name(key, quality, options.seed, kind)
    folder = out if out is not None else cache.folder("fields", field_key)
    if out is not None:
        refuse_capture(out, capture.root)
        refuse_others(out, (TENSORS, MEANING, UNFINISHED))
        cache.folder("fields", field_key)  # fails early where the cache can't be written
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
    if has_field(folder) and not again:
        found = _found(folder, device, key, job)
        if found is not None and _serves(found, settings, quality, kind, out):
            psnr = found.mean_heldout_psnr_db
            told = "no held-out PSNR" if math.isnan(psnr) else f"held-out PSNR {psnr:.1f} dB"
            job.log(f"Using the field in {folder} ({told}).")
            return Trained(found, folder, _content_key(folder), True)
    fingerprint = hashlib.sha256(f"{key}|{kind}|{options.seed}|{asdict(settings)}".encode()).hexdigest()
    keeper = Keeper(folder, fingerprint, job.log)

    def keep(trained: TrainedField) -> None:
        save_field(trained, folder, key)
        keeper.forget()

    copies = PhotoCopies(cache, job.log)
    trained = _train(capture, settings, quality, kind, options, device, job, copies, keeper, keep)
    write_meaning(trained, folder, key)
    return Trained(trained, folder, _content_key(folder), False)


def _found(folder: Path, device: torch.device, key: str, job: Job) -> TrainedField | None:
    """The field in a folder; None, with a warning, where it can't be read. Raises FieldError where it is another's."""
    try:
        found = load_field(folder, device)
    except FieldError as error:
        job.log(f"Warning: {error.what} A new one is trained.")
        return None
    refuse_another_captures(folder, key)
    return found


def _serves(found: TrainedField, settings: TrainingSettings, quality: str, kind: str, out: Path | None) -> bool:
    """Whether a field that is there is as good as the one that was asked for.

    Raises:
        FieldError: the one in the folder that the user named is another kind's or quality's.
    """
    if found.model.kind == ImportedField.kind:  # nobody could train it again
        return True
    if out is not None and (found.model.kind, found.quality) != (kind, quality):
        raise FieldError(
            f"There is a field in {out} already, {kind_of(found.model.kind).label} of quality '{found.quality}'.",
            "Add --again to replace it, or give another --out.",
        )
    # one with better poses serves as well, and one with the user's own box
    as_asked = replace(
        found.settings,
        refine_poses=found.settings.refine_poses and settings.refine_poses,
        box=None if settings.box is None else found.settings.box,
    )
    return settings == as_asked or (out is not None and not settings.refine_poses and settings.box is None)


def _check_box(box: tuple[Corner, Corner]) -> None:
    low, high = np.array(box, np.float64)
    if not (np.isfinite([low, high]).all() and (low < high).all()):
        raise FieldError(
            "The region of interest is empty or not finite.", "Give its lowest and its highest corner, in this order."
        )


def _content_key(folder: Path) -> str:
    return photo_key(folder / TENSORS)[:32]


def _train(
    capture: Capture,
    settings: TrainingSettings,
    quality: str,
    kind: str,
    options: Options,
    device: torch.device,
    job: Job,
    copies: PhotoCopies,
    keeper: Keeper,
    keep: Callable[[TrainedField], None],
) -> TrainedField:
    """Trains, hands the field to ``keep``, and measures how well it predicts held-out views: what is lost by cancelling
    then is the measure alone."""
    training, others = split_views(capture)
    others = [others[i] for i in spread_numbers(len(others), MOST_HELD_OUT)]
    box = scene_box(capture)
    if settings.box is not None:
        box = replace(box, aabb=np.array(settings.box, np.float64), of_points=False)
    elif box.of_points:
        job.log("The region of interest is fitted to the capture's sparse points.")
    needed = needed_bytes([*training, *others], box, settings, kind, capture.has_alpha)
    refuse_without_memory(needed, available_bytes(device))
    with job.stage("Reading photos", len(training) + len(others)) as stage:
        cameras, images = _photos(training, settings, copies, stage, as_levels=True)
        counted = _counted(others, settings, copies)
        heldout = HeldOut([view.name for view in others], *_photos(others, settings, copies, stage), counted=counted)
        counted = _counted(training, settings, copies)
    job.log(
        f"Training a {quality} field ({kind_of(kind).label}): {settings.steps} steps of {settings.rays} rays from "
        f"{len(training)} photos on {describe(device)}."
    )
    names = [view.name for view in training]
    trained = train_field(
        cameras, images, box, settings, device, job, options.seed, kind, heldout, keeper, names, counted
    )
    trained = replace(trained, quality=quality, masks=used_masks(capture))
    keep(trained)
    found = heldout_psnr_db(trained.model, trained.grid, settings.rendering, heldout, job)
    trained = replace(trained, heldout_psnr_db=found)
    if found:
        job.log(f"Held-out PSNR: {trained.mean_heldout_psnr_db:.2f} dB over {len(found)} views.")
    return trained


def _photos(
    views: list[View], settings: TrainingSettings, copies: PhotoCopies, stage: Stage, as_levels: bool = False
) -> tuple[list[Camera], list[np.ndarray]]:
    """Photos at working size with their cameras; ``as_levels``: as bytes where they carry no opacity."""
    cameras, images = [], []
    for view in views:
        camera, image = working_photo(view, settings.max_side_px, copies)
        cameras.append(camera)
        images.append(as_bytes(image) if as_levels and image.shape[2] == 3 else image)
        stage.advance(1, view.stem)
    return cameras, images


def _counted(views: list[View], settings: TrainingSettings, copies: PhotoCopies) -> list[np.ndarray | None] | None:
    """The pixels of each photo that say something of the scene; None where no photo has a mask of that kind."""
    found = [counted_pixels(view, settings.max_side_px, copies) for view in views]
    return found if any(each is not None for each in found) else None


def with_poses(capture: Capture, poses: Mapping[str, np.ndarray]) -> Capture:
    """The capture as its field sees it: with the poses that were corrected in training, by the names of views."""
    views = [
        replace(view, camera=replace(view.camera, world_from_camera=poses[view.name])) if view.name in poses else view
        for view in capture.views
    ]
    return replace(capture, views=tuple(views))


def open_workspace(capture: Capture, options: Options, request: SegmentOptions, job: Job) -> tuple[Workspace, Trained]:
    """A capture with its field, trained first if there is none. With a field that is named, the capture's masks are
    taken for what they were taken for when it was trained."""
    if request.field_folder is not None:
        capture = with_masks(capture, masks_of(request.field_folder))
        key = Cache(options.cache).capture_key(capture)
        loaded = load_field(request.field_folder, pick_device(options.device), key)
        trained = Trained(loaded, request.field_folder, _content_key(request.field_folder), True)
    else:
        cache = Cache(options.cache)
        place = cache.root / "fields" / field_name(cache.capture_key(capture), request.quality, options.seed)
        is_there = has_field(place)
        trained = train(capture, request.quality, options, job, box=None if is_there else request.region)
        if is_there and request.region is not None and trained.field.settings.box != request.region:
            # Training anew would take the field from the objects that were segmented in it.
            job.log(
                "Note: the region of interest was moved after the field was trained. Train again to have it followed."
            )
    cache = Cache(options.cache)
    key = cache.capture_key(capture)
    return Workspace(
        with_poses(capture, trained.field.poses), key, trained.field, trained.key, cache, options.budget, job.log
    ), trained

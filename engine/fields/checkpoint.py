"""Trained fields on disk: safetensors for the numbers, JSON for what they mean, never a pickle."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save_file

from engine import __version__
from engine.cache import atomic_file, write_json
from engine.captures.bounds import SceneBox
from engine.fields.curve import CurvePoint
from engine.fields.kinds import kind_of
from engine.fields.scene_grid import build_grid
from engine.fields.settings import Sampling, TrainingSettings
from engine.fields.training import TrainedField
from sa3d_blender.protocol.errors import FieldError

FORMAT = "sa3d-field-2"
TENSORS, MEANING = "field.safetensors", "field.json"


def save_field(trained: TrainedField, folder: Path, capture_key: str) -> None:
    """Writes a field to a folder. The JSON comes last: a folder without it holds no field.

    Raises:
        StorageError: the disk is full or the folder can't be written.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in trained.model.state_dict().items()}
    with atomic_file(folder / TENSORS) as temporary:
        save_file(state, temporary)
        (folder / MEANING).unlink(missing_ok=True)  # only now that the new tensors are sure to have room
    write_meaning(trained, folder, capture_key)


def write_meaning(trained: TrainedField, folder: Path, capture_key: str) -> None:
    """Writes (anew) what the numbers of a saved field mean, and how good it is. Raises as `save_field`."""
    meaning = {
        "format": FORMAT,
        "version": __version__,
        "kind": trained.model.kind,
        "capture": capture_key,
        "quality": trained.quality,
        "model": trained.model.describe(),
        "box": {"aabb": trained.box.aabb.tolist(), "kind": trained.box.kind},
        "settings": asdict(trained.settings),
        "heldout_psnr_db": trained.heldout_psnr_db,
        "history": [asdict(point) for point in trained.history],
        "left_out": trained.left_out,
        "poses": {name: pose.tolist() for name, pose in trained.poses.items()},
        "masks": trained.masks,
    }
    write_json(folder / MEANING, meaning)


def has_field(folder: Path) -> bool:
    """Whether a folder holds a whole field."""
    return (folder / MEANING).is_file() and (folder / TENSORS).is_file()


def masks_of(folder: Path) -> str:
    """What the photos' masks were taken for when the field in a folder was trained; "auto" where it doesn't say."""
    try:
        found = json.loads((folder / MEANING).read_text(encoding="utf-8")).get("masks")
    except (OSError, ValueError, AttributeError):
        return "auto"  # load_field says what is wrong with it
    return found if isinstance(found, str) else "auto"


def refuse_another_captures(folder: Path, capture_key: str) -> None:
    """Raises FieldError where the field in a folder, which must be a whole one, was trained on another capture."""
    meaning = json.loads((folder / MEANING).read_text(encoding="utf-8"))
    _refuse_another(folder, meaning["capture"], capture_key)


def _refuse_another(folder: Path, found: str, wanted: str) -> None:
    if found != wanted:
        raise FieldError(f"The field in {folder} was trained on another capture.", "Name the right one, or train.")


def load_field(folder: Path, device: torch.device, capture_key: str | None = None) -> TrainedField:
    """Reads a field; with ``capture_key``, only one that was trained on that capture.

    Raises:
        FieldError: there is no field, it is damaged, of another version, or belongs to another capture.
    """
    again = "Train it again with `sa3d train`."
    if not has_field(folder):
        raise FieldError(f"There is no trained field in {folder}.", again)
    try:
        meaning = json.loads((folder / MEANING).read_text(encoding="utf-8"))
        if meaning.get("format") != FORMAT:
            raise FieldError(f"The field in {folder} has format {meaning.get('format')!r}, not {FORMAT!r}.", again)
        if capture_key is not None:
            _refuse_another(folder, meaning["capture"], capture_key)
        model = kind_of(meaning["kind"]).rebuild(meaning["model"])
        model.restore(load_file(folder / TENSORS))
        settings = dict(meaning["settings"])
        for name in ("sampling", "rendering"):
            settings[name] = Sampling(**settings[name])
        settings["sides"], settings["upsample_at"] = tuple(settings["sides"]), tuple(settings["upsample_at"])
        if settings.get("box") is not None:
            low, high = settings["box"]
            settings["box"] = (tuple(low), tuple(high))
        training = TrainingSettings(**settings)
        box = SceneBox(aabb=np.array(meaning["box"]["aabb"]), kind=meaning["box"]["kind"])
        left_out = tuple(meaning["left_out"])
        poses = {name: np.array(pose, np.float64) for name, pose in meaning["poses"].items()}
        masks = meaning.get("masks")  # older fields don't say
        heldout, history = meaning["heldout_psnr_db"], tuple(CurvePoint(**p) for p in meaning["history"])
    except (
        OSError,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        RuntimeError,
        safetensors.SafetensorError,
    ) as error:
        raise FieldError(
            f"The field in {folder} is damaged ({(str(error).splitlines() or [type(error).__name__])[0]}).", again
        ) from error
    model = model.to(device).eval()
    grid = build_grid(model, training.occupancy_side)
    return TrainedField(model, grid, box, training, meaning["quality"], heldout, history, left_out, poses, masks)

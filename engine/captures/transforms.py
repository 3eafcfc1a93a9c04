"""Reads transforms.json (nerfstudio, instant-ngp) and transforms_{train,val,test}.json (nerf_synthetic).

Coordinates stay the file's: ``applied_transform`` and ``applied_scale`` are kept in ``Capture.extra``, not undone; the
points of ``ply_file_path`` are in the same coordinates. So are instant-ngp's ``scale`` and ``offset``: they say how
that program moves the scene into its own cube.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.captures.capture import Camera, CameraModel, Capture, SparsePoints
from engine.captures.images import MAX_PIXELS, PhotoHeader, photo_header
from engine.captures.moved_photos import AS_WRITTEN, found_here
from engine.captures.ply_points import read_ply_points
from engine.captures.scene_masks import masked, named_mask
from engine.captures.validate import (
    MAX_FRAMES,
    BadView,
    Draft,
    assemble,
    examples,
    fitted,
    inside,
    keep_good,
    number,
    read_json,
    rigid_pose,
)
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["SPLITS", "read_nerf_synthetic", "read_transforms"]

SPLITS = ("train", "val", "test")
_SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")
_KEPT = ("applied_transform", "applied_scale", "aabb_scale", "scale", "offset", "ply_file_path")
_EXPORT = "Export the capture again, or choose another camera model."

# The coefficients that each camera model has; what else a file states is noted, not used.
_COEFFICIENTS: Mapping[str, tuple[CameraModel, tuple[str, ...]]] = {
    "PINHOLE": ("pinhole", ()),
    "SIMPLE_PINHOLE": ("pinhole", ()),
    "SIMPLE_RADIAL": ("opencv", ("k1",)),
    "RADIAL": ("opencv", ("k1", "k2")),
    "OPENCV": ("opencv", ("k1", "k2", "p1", "p2", "k3")),
    "FULL_OPENCV": ("opencv", ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")),
    "OPENCV_FISHEYE": ("fisheye", ("k1", "k2", "k3", "k4")),
    "SIMPLE_RADIAL_FISHEYE": ("fisheye", ("k1",)),
    "RADIAL_FISHEYE": ("fisheye", ("k1", "k2")),
}
_ALL_COEFFICIENTS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")


class _Notes:
    """What the frames of a capture had in common that the user should know, by kind."""

    def __init__(self) -> None:
        self.listed = 0
        self.missing: list[str] = []
        self.bad: list[tuple[str, str]] = []
        self.scaled: list[str] = []
        self.repeated: list[str] = []
        self.ignored_lens: list[str] = []
        self.unsplit: list[str] = []
        self.unmasked: list[str] = []
        self.moved = False

    def warnings(self) -> list[str]:
        if self.listed and len(self.missing) == self.listed:
            raise CaptureError(
                f"None of the {self.listed} photos that the capture lists is there ({examples(self.missing)}).",
                "Put the photos where the file says, or correct its file_path entries.",
            )
        told = keep_good(self.listed - len(self.missing), self.bad)
        if self.moved:
            told.append("The file's paths lead elsewhere; the photos of these names in the capture's folder are taken.")
        for names, sentence in (
            (self.missing, "listed photos are missing and are left out"),
            (self.repeated, "photos are listed more than once; the first camera counts"),
            (self.scaled, "photos have another size than stated; their cameras are scaled to fit"),
            (self.ignored_lens, "cameras state lens coefficients that their camera model doesn't have; not used"),
            (self.unmasked, "masks that the file names can't be used (missing, damaged or of another size); not used"),
            (self.unsplit, "views are in none of the listed splits and are taken for training"),
        ):
            if names:
                told.append(f"{len(names)} of {self.listed} {sentence}: {examples(names)}.")
        return told


def read_transforms(path: Path) -> Capture:
    """The capture that a transforms.json of nerfstudio's or instant-ngp's kind describes. Raises CaptureError."""
    data = read_json(path)
    notes = _Notes()
    drafts = _read_frames(path, data, "train", notes)
    drafts, told = masked(path.parent, drafts)
    told = [*notes.warnings(), *told]
    points = _points(path.parent, data, told)
    return replace(assemble(path.parent, "transforms", drafts, told, _extra(data)), points=points)


def _points(root: Path, data: Mapping[str, object], told: list[str]) -> SparsePoints | None:
    """The sparse points that the file names; None without them. What is wrong with them is added to ``told``."""
    written = data.get("ply_file_path")
    if written is None:
        return None
    try:
        name, path = inside(root, written)
    except BadView:
        told.append("The sparse points are left out: ply_file_path is no path.")
        return None
    if not path.is_file():
        told.append(f"The sparse points are left out: {name} is missing.")
        return None
    try:
        return read_ply_points(path)
    except CaptureError as error:  # the cameras don't need them
        told.append(f"The sparse points are left out: {error.what}")
        return None


def read_nerf_synthetic(root: Path) -> Capture:
    """The capture in ``root``'s transforms_train.json, transforms_val.json and transforms_test.json, those there are.

    Raises CaptureError.
    """
    notes, extra = _Notes(), {}
    drafts: list[Draft] = []
    for split in SPLITS:
        path = root / f"transforms_{split}.json"
        if path.exists():
            data = read_json(path)
            found = {draft.name for draft in drafts}
            for draft in _read_frames(path, data, split, notes):
                if draft.name in found:
                    notes.repeated.append(draft.name)
                else:
                    drafts.append(draft)
            extra.update(_extra(data))
    return assemble(root, "nerf_synthetic", drafts, notes.warnings(), extra)


def _extra(data: Mapping[str, object]) -> dict[str, object]:
    return {key: data[key] for key in _KEPT if key in data}


def _read_frames(path: Path, data: Mapping[str, object], split: str, notes: _Notes) -> list[Draft]:
    """The views of one file, by order of its frames; what is wrong with some goes into ``notes``."""
    frames = data.get("frames")
    if not isinstance(frames, list) or not frames:
        raise CaptureError(f"{path.name} lists no frames.", "Export the capture again, with its cameras.")
    if len(frames) > MAX_FRAMES:
        raise CaptureError(
            f"{path.name} lists {len(frames)} frames, more than the limit of {MAX_FRAMES}.", "Use fewer photos."
        )
    root, splits = path.parent, _splits(path, data)
    drafts: dict[str, Draft] = {}
    frames, moved = found_here(root, frames, _found)
    notes.moved = notes.moved or moved
    for index, frame in enumerate(frames):
        notes.listed += 1
        label = f"frame {index} of {path.name}"
        try:
            if not isinstance(frame, dict):
                raise BadView("it is not an object")
            name, file = inside(root, frame.get("file_path"))
            label = name
            found = _found(root, name, file)
            if found is None:
                notes.missing.append(name)
                continue
            name, file = found
            if name in drafts:
                notes.repeated.append(name)
                continue
            draft = _with_mask(root, _draft(name, file, {**data, **frame}, frame, notes), frame, notes)
        except BadView as reason:
            notes.bad.append((label, str(reason)))
            continue
        if splits is not None:
            ways = (name, str(frame.get("file_path")), str(frame.get(AS_WRITTEN)))
            listed = next((splits[key] for key in ways if key in splits), None)
            if listed is None:
                notes.unsplit.append(name)
            drafts[name] = replace(draft, split=listed or "train")
        else:
            drafts[name] = replace(draft, split=split)
    return list(drafts.values())


def _splits(path: Path, data: Mapping[str, object]) -> dict[str, str] | None:
    """Photo path, as written and normalised, to split; None where the file has no lists."""
    lists = {split: data[f"{split}_filenames"] for split in SPLITS if f"{split}_filenames" in data}
    if not lists:
        return None
    result: dict[str, str] = {}
    for split, written in lists.items():
        if not isinstance(written, list) or not all(isinstance(item, str) for item in written):
            raise CaptureError(f"{split}_filenames in {path.name} is not a list of paths.", "Export the capture again.")
        for item in written:
            result.setdefault(item, split)
            try:
                result.setdefault(inside(path.parent, item)[0], split)
            except (BadView, CaptureError):
                continue  # no photo's path, or one in another place: nothing is opened by it
    return result


def _found(root: Path, name: str, file: Path) -> tuple[str, Path] | None:
    """The photo written as ``name``, whose suffix may be left out."""
    for suffix in _SUFFIXES:
        candidate = file.with_name(file.name + suffix)
        if candidate.is_file():
            inside(root, name + suffix)  # with its suffix it may be a symbolic link
            return name + suffix, candidate
    return None


def _draft(name: str, file: Path, values: Mapping[str, object], frame: Mapping[str, object], notes: _Notes) -> Draft:
    pose = rigid_pose(frame.get("transform_matrix"))
    try:
        header = photo_header(file)
    except CaptureError as error:
        raise BadView(f"its file is of no use: {error.what.rstrip('.')}") from error
    stated = _camera(values, frame, header, pose, name, notes)
    camera = fitted(name, stated, header)
    if camera is not stated:
        notes.scaled.append(name)
    return Draft(name, file, header, camera)


def _with_mask(root: Path, draft: Draft, frame: Mapping[str, object], notes: _Notes) -> Draft:
    """The draft with the mask that its frame names, if any."""
    if frame.get("mask_path") is None:
        return draft
    try:
        return named_mask(root, frame["mask_path"], draft)
    except BadView as reason:
        notes.unmasked.append(f"{draft.name} because {reason}")
        return draft


def _camera(
    values: Mapping[str, object],
    frame: Mapping[str, object],
    header: PhotoHeader,
    pose: np.ndarray,
    name: str,
    notes: _Notes,
) -> Camera:
    """The camera as stated: ``values`` is the frame over the file's top level."""
    width, height = header.width, header.height
    if "w" in values and "h" in values:
        width, height = _pixels(values["w"], "its width"), _pixels(values["h"], "its height")
    # What the frame itself says, by focal length or by angle, comes before what the top level says.
    fl_x = _focal(frame, "x", width) or _focal(values, "x", width)
    fl_y = _focal(frame, "y", height) or _focal(values, "y", height)
    fl_x, fl_y = fl_x or fl_y, fl_y or fl_x
    if fl_x is None or fl_y is None:
        raise BadView("it has no focal length (neither fl_x nor camera_angle_x)")
    cx = number(values["cx"], "its cx") if "cx" in values else 0.5 * width
    cy = number(values["cy"], "its cy") if "cy" in values else 0.5 * height
    model, distortion = _lens(values, name, notes)
    return Camera(width, height, fl_x, fl_y, cx, cy, pose, model, distortion)


def _pixels(value: object, what: str) -> int:
    result = round(number(value, what))
    if not 1 <= result <= MAX_PIXELS:
        raise BadView(f"{what} is {result:g} pixels")
    return result


def _focal(values: Mapping[str, object], axis: str, pixels: int) -> float | None:
    """Focal length in pixels along ``axis``, from fl_x or else camera_angle_x (radians); None where neither is
    there.
    """
    if values.get(f"fl_{axis}") is not None:
        focal = number(values[f"fl_{axis}"], f"its fl_{axis}")
        if focal <= 0:
            raise BadView(f"its focal length fl_{axis} is {focal:g}")
        return focal
    if values.get(f"camera_angle_{axis}") is not None:
        angle = number(values[f"camera_angle_{axis}"], f"its camera_angle_{axis}")
        if not 1e-4 < angle < math.pi - 1e-4:
            raise BadView(f"its camera_angle_{axis} is {angle:g}, not an angle between 0 and pi")
        return 0.5 * pixels / math.tan(0.5 * angle)
    return None


def _lens(values: Mapping[str, object], name: str, notes: _Notes) -> tuple[CameraModel, tuple[float, ...]]:
    """Model and coefficients in Camera's order. A file without camera_model has OpenCV's or, by flag, a fisheye's."""
    written = values.get("camera_model")
    if written is None:
        written = "OPENCV_FISHEYE" if values.get("is_fisheye") is True else "OPENCV"
    if not isinstance(written, str) or written.upper() not in _COEFFICIENTS:
        raise CaptureError(f"The camera model {written!r} of {name} is not supported.", _EXPORT)
    model, keys = _COEFFICIENTS[written.upper()]
    stated = {
        key: number(_unquoted(values[key]), f"its {key}") for key in _ALL_COEFFICIENTS if values.get(key) is not None
    }
    if written.upper() == "OPENCV" and stated.get("k4"):
        # OpenCV's own k4 divides, nerfstudio's multiplies r^8: reading one as the other bends the picture unseen.
        raise CaptureError(f"The OPENCV camera of {name} has a k4, which programs do not agree on.", _EXPORT)
    if any(value for key, value in stated.items() if key not in keys):
        notes.ignored_lens.append(name)
    coefficients = tuple(stated.get(key, 0.0) for key in keys)
    if not any(coefficients):
        return ("fisheye", ()) if model == "fisheye" else ("pinhole", ())
    return model, coefficients


def _unquoted(value: object) -> object:
    """The number in a string: nerfstudio's import of RealityCapture's cameras wrote coefficients so until May 2024."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value

"""Reads the cameras that RealityCapture and RealityScan write beside the photos: IMG_1.xmp for IMG_1.jpg.

xcr:Rotation is camera-from-world, row by row, in OpenCV's axes, xcr:Position where the camera stands; both are elements
in most versions and attributes in some. The lens is in reality_lens.py. Source: Epic's knowledge base, "RealityCapture
XMP Camera Math", and sidecars of versions 2, 3 and 4 as published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from engine.captures.capture import Capture
from engine.captures.far_away import brought_near
from engine.captures.images import IMAGE_SUFFIXES, PhotoHeader
from engine.captures.labels import Labelled, capture_of
from engine.captures.lens_fit import Fit
from engine.captures.reality_lens import reality_lens
from engine.captures.validate import MAX_FRAMES, BadView, examples, rigid_pose, stays_inside
from engine.captures.xml_tree import read_xml
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["has_sidecars", "read_sidecars"]

_FOLDERS = ("images", "")
_MARK = b"capturingreality.com/ns/xcr"
_MAX_BYTES = 2**20
_BROWN = ("brown3", "brown3t2", "brown4", "brown4t2")
_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0])
_AGAIN = "Align the photos in RealityScan, then export their metadata as XMP again, with the poses."


def has_sidecars(root: Path) -> bool:
    """Whether some photo in ``root`` or its folder images has such a sidecar; the first fifty are looked into."""
    return any(_is_sidecar(path) for path, _ in zip(_beside_photos(root), range(50), strict=False))


def read_sidecars(root: Path) -> Capture:
    """The capture of the photos in ``root`` or its folder images that have sidecars. Raises CaptureError.

    Of several components, whose worlds differ, the largest is read. Cameras with a map's coordinates are brought to
    the origin; ``Capture.extra`` has "brought_near" then.
    """
    found: dict[str, dict[str, str]] = {}
    for path in _beside_photos(root):
        if len(found) >= MAX_FRAMES:
            raise CaptureError(f"There are more than the limit of {MAX_FRAMES} sidecars.", "Use fewer photos.")
        if path.stem not in found and _is_sidecar(path):
            found[path.stem] = _values(path)
    if not any("Position" in values for values in found.values()):
        raise CaptureError("The .xmp files beside the photos say how they were taken, but not from where.", _AGAIN)
    found, told = _largest_component(found)
    positions = np.array([_numbers_or_nan(values.get("Position")) for values in found.values()])
    near, notes = brought_near(positions)
    cameras = [_camera(stem, values, near) for stem, values in found.items()]
    capture = capture_of(root, root / "*.xmp", "reality", cameras, [*told, *notes])
    return replace(capture, extra={**capture.extra, "brought_near": near.tolist()}) if notes else capture


def _beside_photos(root: Path) -> Iterator[Path]:
    """The .xmp files of ``root`` and its folder images that have a photo of their name, by order of name."""
    for folder in _FOLDERS:
        place = root / folder if folder else root
        if not place.is_dir() or not stays_inside(root, place):
            continue
        paths = sorted(place.iterdir())
        photos = {path.stem for path in paths if path.suffix.lower() in IMAGE_SUFFIXES}
        for path in paths:
            if path.suffix.lower() == ".xmp" and path.stem in photos and path.is_file() and stays_inside(root, path):
                yield path


def _is_sidecar(path: Path) -> bool:
    """Whether it is RealityCapture's: drones and photo editors write .xmp files too."""
    try:
        with path.open("rb") as file:
            return _MARK in file.read(2**16)
    except OSError:
        return False


def _values(path: Path) -> dict[str, str]:
    """What the sidecar says, by name, be it in attributes or in elements; "damaged" where it can't be read."""
    if path.stat().st_size > _MAX_BYTES:
        return {"damaged": f"{path.name} has more than a megabyte", "Position": ""}
    try:
        root = read_xml(path)
    except CaptureError as error:
        return {"damaged": error.what.rstrip("."), "Position": ""}
    values = {}
    for element in root.iter():
        written = {**element.attrib, element.tag: element.text or ""}
        values.update({key[4:]: text.strip() for key, text in written.items() if key.startswith("xcr:")})
    return values


def _largest_component(found: dict[str, dict[str, str]]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The photos of the component with most of them, and those of none; what to tell about the others."""
    counts = Counter(values["ComponentId"] for values in found.values() if values.get("ComponentId"))
    if len(counts) < 2:
        return found, []
    best = counts.most_common(1)[0][0]
    others = [stem for stem, values in found.items() if values.get("ComponentId", best) != best]
    sentence = f"{len(others)} photos belong to other components than most and are left out: {examples(others)}."
    return {stem: values for stem, values in found.items() if stem not in set(others)}, [sentence]


def _camera(stem: str, values: dict[str, str], near: np.ndarray) -> Labelled:
    posed = "Position" in values and ("Rotation" in values or "damaged" in values)
    lens = ("DistortionModel", "DistortionCoeficients", "FocalLength35mm", "Skew", "AspectRatio")
    key = tuple(values.get(name) for name in (*lens, "PrincipalPointU", "PrincipalPointV", "damaged"))
    return Labelled(stem, key, partial(_pose, values, near) if posed else None, partial(_fit, values))


def _pose(values: dict[str, str], near: np.ndarray) -> np.ndarray:
    rotation = np.array(_numbers(values["Rotation"], 9, "its rotation")).reshape(3, 3)
    pose = np.eye(4)
    pose[:3, :3] = rotation.T @ _OPENGL_FROM_OPENCV
    pose[:3, 3] = _numbers(values["Position"], 3, "its position")
    return rigid_pose(near @ pose)


def _fit(values: dict[str, str], header: PhotoHeader) -> Fit:
    if "damaged" in values:
        raise BadView(values["damaged"])
    if "FocalLength35mm" not in values:
        raise BadView("its sidecar has no focal length")

    def value(name: str, usual: float) -> float:
        return _numbers(values[name], 1, f"its {name}")[0] if name in values else usual

    centre = value("PrincipalPointU", 0.0), value("PrincipalPointV", 0.0)
    focal, aspect, skew = value("FocalLength35mm", 0.0), value("AspectRatio", 1.0), value("Skew", 0.0)
    return reality_lens(header, focal, centre, _coefficients(values), aspect, skew)


def _coefficients(values: dict[str, str]) -> list[float]:
    """k1 k2 k3 k4 t1 t2 of a lens of Brown's; zeros of any lens without distortion."""
    written = values.get("DistortionCoeficients", "").split()  # so spelt
    numbers = _numbers(" ".join(written), len(written), "its distortion") if len(written) <= 6 else []
    if len(written) > 6:
        raise BadView("its distortion has more than six numbers")
    model = values.get("DistortionModel", "perspective").lower()
    if model == "perspective" or not any(numbers):
        return [0.0] * 6
    if model not in _BROWN:
        raise BadView(
            f"its lens is of the model {model!r}, which is not read; set the distortion model to Brown3 or Brown4 in "
            "the alignment's settings, align, and export again"
        )
    return [*numbers, *[0.0] * (6 - len(numbers))]


def _numbers(text: str, count: int, what: str) -> list[float]:
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError as error:
        raise BadView(f"{what} holds a word for a number") from error
    if len(numbers) != count:
        raise BadView(f"{what} has {len(numbers)} numbers, not {count}")
    return numbers


def _numbers_or_nan(text: str | None) -> list[float]:
    try:
        return _numbers(text or "", 3, "")
    except BadView:
        return [np.nan] * 3  # said when the camera is read

"""Reads the cameras that Agisoft Metashape exports as XML (File, Export, Export Cameras).

A camera's transform maps camera to chunk, in OpenCV's axes; the chunk's (or its component's) transform maps on to the
world: rotation, translation, scale. Pixels count from the top-left corner, centres at +0.5; cx and cy from the middle
of the photo. Source: "Metashape User Manual", appendices on camera models and formats; real exports.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from engine.captures.brown import BrownLens, brown_camera
from engine.captures.capture import Capture
from engine.captures.labels import Labelled, capture_of
from engine.captures.validate import MAX_FRAMES, BadView, rigid_pose
from engine.captures.xml_tree import read_xml
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["is_metashape", "read_metashape"]

_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
_KINDS = {
    "frame": "frame",
    "fisheye": "fisheye",
    "equidistant_fisheye": "fisheye",
    "equisolid_fisheye": "equisolid",
}
_FAR = 1e5  # a chunk that is moved further than this stands somewhere on the earth
_AGAIN = "Export the cameras again from Metashape."


def is_metashape(path: Path) -> bool:
    """Whether the file starts as Metashape's exports do: a document that holds a chunk."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return b"<document" in head and b"<chunk" in head


def read_metashape(path: Path) -> Capture:
    """The capture of the cameras in ``path`` and of the photos beside it or in images/. Raises CaptureError.

    A chunk that is placed on the earth keeps its own coordinates: those from the earth's middle have too few digits.
    """
    root = read_xml(path)
    chunks = [root] if root.tag == "chunk" else root.findall("chunk")
    chunk = next((each for each in chunks if each.find("cameras") is not None), None)
    if root.tag not in ("document", "chunk") or chunk is None:
        raise CaptureError(f"{path.name} is not an export of Metashape's cameras.", _AGAIN)
    told: list[str] = []
    others = sum(each.find("cameras") is not None for each in chunks) - 1
    if others:
        told.append(f"{path.name} has {others + 1} chunks; the first is read.")
    try:
        worlds, notes = _worlds(chunk)
        cameras = list(_cameras(chunk, worlds))
    except ValueError as error:
        raise CaptureError(f"{path.name} holds something else where numbers should be.", _AGAIN) from error
    return capture_of(path.parent, path, "metashape", cameras, [*told, *notes])


def _worlds(chunk: Element) -> tuple[dict[str | None, np.ndarray], list[str]]:
    """World-from-chunk [4, 4] by component; under None the chunk's own."""
    worlds: dict[str | None, np.ndarray] = {None: _similarity(chunk.find("transform"))}
    for component in chunk.iterfind("components/component"):
        if component.find("transform") is not None:
            worlds[component.get("id")] = _similarity(component.find("transform"))
    far = [key for key, world in worlds.items() if np.abs(world[:3, 3]).max() > _FAR]
    told = []
    if far:
        told.append("The chunk is placed on the earth; its cameras keep the chunk's own coordinates, in its own unit.")
        worlds = {key: np.eye(4) for key in worlds}
    return worlds, told


def _similarity(element: Element | None) -> np.ndarray:
    """[[s R, t], [0, 1]] of a transform. Raises ValueError."""
    world = np.eye(4)
    if element is None:
        return world
    if element.find("rotation") is not None:
        world[:3, :3] = np.array(_numbers(element.findtext("rotation"), 9)).reshape(3, 3)
    if element.find("translation") is not None:
        world[:3, 3] = _numbers(element.findtext("translation"), 3)
    scale = _numbers(element.findtext("scale"), 1)[0] if element.find("scale") is not None else 1.0
    if not (np.isfinite(world).all() and 1e-12 < scale < 1e12):
        raise ValueError("no similarity")
    world[:3, :3] *= scale
    return world


def _numbers(text: str | None, count: int) -> list[float]:
    values = [float(word) for word in (text or "").split()]
    if len(values) != count:
        raise ValueError(f"{len(values)} numbers, not {count}")
    return values


def _cameras(chunk: Element, worlds: dict[str | None, np.ndarray]) -> Iterator[Labelled]:
    """The cameras that are switched on and aligned, those in groups too."""
    sensors = {sensor.get("id"): sensor for sensor in chunk.iterfind("sensors/sensor")}
    found = list(chunk.iterfind("cameras//camera"))
    if len(found) > MAX_FRAMES:
        raise CaptureError(f"The file lists {len(found)} cameras, more than the limit of {MAX_FRAMES}.", _AGAIN)
    for element in found:
        text = element.findtext("transform")
        if text is None or element.get("enabled") in ("0", "false"):
            continue
        sensor = sensors.get(element.get("sensor_id"))
        world = worlds.get(element.get("component_id"), worlds[None])
        label = element.get("label") or ""
        yield Labelled(
            label,
            element.get("sensor_id"),
            lambda text=text, world=world: _pose(text, world),
            lambda header, sensor=sensor: brown_camera(_lens(sensor)),
        )


def _pose(text: str, world: np.ndarray) -> np.ndarray:
    try:
        chunk_from_camera = np.array(_numbers(text, 16)).reshape(4, 4)
    except ValueError as error:
        raise BadView("its transform isn't 16 numbers") from error
    if not (np.isfinite(chunk_from_camera).all() and np.abs(chunk_from_camera).max() < 1e9):
        raise BadView("its pose holds values that are not finite")
    scale = float(np.cbrt(max(np.linalg.det(world[:3, :3]), 0.0)))
    if scale <= 0:
        raise BadView("its chunk is mirrored")
    pose = world @ chunk_from_camera @ _OPENGL_FROM_OPENCV
    pose[:3, :3] /= scale
    return rigid_pose(pose)


def _lens(sensor: Element | None) -> BrownLens:
    if sensor is None:
        raise BadView("its sensor is not in the file")
    calibrations = sensor.findall("calibration")
    adjusted = [each for each in calibrations if each.get("class") == "adjusted"]
    if not calibrations:
        raise BadView("its sensor is not calibrated")
    calibration = (adjusted or calibrations)[0]
    written = calibration.get("type") or sensor.get("type") or "frame"
    if written not in _KINDS:
        raise BadView(f"its lens is of the type {written!r}, which no camera of one direction is")
    resolution = calibration.find("resolution")
    resolution = sensor.find("resolution") if resolution is None else resolution

    def value(name: str, usual: float = 0.0) -> float:
        text = calibration.findtext(name)
        return usual if text is None else float(text)

    try:
        if resolution is None:
            raise ValueError("no size")
        width, height = int(resolution.get("width", "")), int(resolution.get("height", ""))
        fx = value("fx", value("f"))  # old versions wrote two focal lengths
        f = value("fy", value("f"))
        return BrownLens(
            width,
            height,
            f,
            width / 2 + value("cx"),
            height / 2 + value("cy"),
            (value("k1"), value("k2"), value("k3"), value("k4")),
            (value("p2"), value("p1")),  # Metashape's are the other way round than OpenCV's
            (value("b1") + fx - f, value("b2")),
            _KINDS[written],  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise BadView("its calibration holds something else where numbers should be") from error

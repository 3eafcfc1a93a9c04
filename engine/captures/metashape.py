"""Reads the cameras that Agisoft Metashape exports as XML (File, Export, Export Cameras), and those of PhotoScan.

A camera's transform maps camera to chunk, in OpenCV's axes; the chunk's (or its component's) transform maps on to the
world: rotation, translation, scale. In a multi-camera system only the master has a transform: its fellows hang from it
by the rotation and location of their sensors. Source: "Metashape User Manual", appendices on camera models and formats;
facebookresearch/EyefulTower on multi-camera systems; real exports of versions 0.8, 1.5 and 2.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from engine.captures.capture import Capture
from engine.captures.far_away import brought_near
from engine.captures.images import PhotoHeader
from engine.captures.labels import Labelled, capture_of
from engine.captures.lens_fit import Fit
from engine.captures.metashape_lens import calibrated_lens
from engine.captures.validate import MAX_FRAMES, BadView, rigid_pose
from engine.captures.xml_tree import read_xml
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["is_metashape", "read_metashape"]

_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
_AGAIN = "Export the cameras again from Metashape."


def is_metashape(path: Path) -> bool:
    """Whether the file starts as such exports do: with a document that holds a chunk, or a collection of cameras."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return (b"<document" in head and b"<chunk" in head) or (b"<collection" in head and b"<camera" in head)


def read_metashape(path: Path) -> Capture:
    """The capture of the cameras in ``path`` and of the photos beside it or in images/. Raises CaptureError.

    Of several chunks the one with most aligned cameras is read. One that is placed on the earth is brought to the
    origin, upright and in metres; ``Capture.extra`` has "brought_near" then.
    """
    root = read_xml(path)
    chunks = [root] if root.tag in ("chunk", "collection") else root.findall("chunk")
    chunks = [each for each in chunks if each.find("cameras") is not None]
    if root.tag not in ("document", "chunk", "collection") or not chunks:
        raise CaptureError(f"{path.name} is not an export of Metashape's cameras.", _AGAIN)
    chunk = max(chunks, key=lambda each: len(each.findall("cameras//camera/transform")))
    told: list[str] = []
    if len(chunks) > 1:
        name = chunk.get("label") or f"number {chunks.index(chunk) + 1}"
        told.append(f"{path.name} has {len(chunks)} chunks; the one with most aligned cameras is read, {name}.")
    try:
        cameras = list(_cameras(chunk, _worlds(chunk)))
    except ValueError as error:
        raise CaptureError(f"{path.name} holds something else where numbers should be.", _AGAIN) from error
    corrected = sum(sensor.find(".//corrections") is not None for sensor in chunk.iterfind("sensors/sensor"))
    if corrected:
        told.append(
            f"{path.name} holds additional corrections of {corrected} of its lenses, which are not read and may move"
            " what is seen by some pixels; optimise the cameras without fitting them."
        )
    near, notes = brought_near(np.array([_position(camera) for camera in cameras]).reshape(-1, 3))
    cameras = [replace(one, pose=one.pose and partial(_brought, one.pose, near)) for one in cameras]
    capture = capture_of(path.parent, path, "metashape", cameras, [*told, *notes])
    return replace(capture, extra={**capture.extra, "brought_near": near.tolist()}) if notes else capture


def _position(camera: Labelled) -> np.ndarray:
    """Where the camera stands in the world [3]; not finite where nothing says so."""
    try:
        return np.full(3, np.nan) if camera.pose is None else camera.pose()[:3, 3]
    except BadView:  # said when the camera is read
        return np.full(3, np.nan)


def _brought(pose: Callable[[], np.ndarray], near: np.ndarray) -> np.ndarray:
    """The pose near the origin, checked. Raises BadView."""
    return rigid_pose(near @ pose())


def _worlds(chunk: Element) -> dict[str | None, np.ndarray]:
    """World-from-chunk [4, 4] by component; under None the chunk's own. Raises ValueError."""
    worlds: dict[str | None, np.ndarray] = {None: _similarity(chunk.find("transform"))}
    for component in chunk.iterfind("components/component"):
        if component.find("transform") is not None:
            worlds[component.get("id")] = _similarity(component.find("transform"))
    return worlds


def _similarity(element: Element | None) -> np.ndarray:
    """[[s R, t], [0, 1]] of a transform, in parts or (in the oldest files) as one matrix. Raises ValueError."""
    world = np.eye(4)
    if element is None:
        return world
    if len(element) == 0 and (element.text or "").strip():
        world = np.array(_numbers(element.text, 16)).reshape(4, 4)
        small = np.isfinite(world).all() and np.abs(world).max() < 1e12
        scale = float(np.cbrt(np.linalg.det(world[:3, :3]))) if small else 0.0
        if scale > 1e-12:
            world[:3, :3] /= scale
    else:
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
    """The cameras that are switched on, those in groups too; without pose where they are not aligned.

    Poses are as written, on the earth or not, and are still to be checked.
    """
    sensors = {sensor.get("id"): sensor for sensor in chunk.iterfind("sensors/sensor")}
    found = list(chunk.iterfind("cameras//camera"))
    if len(found) > MAX_FRAMES:
        raise CaptureError(f"The file lists {len(found)} cameras, more than the limit of {MAX_FRAMES}.", _AGAIN)
    by_id = {element.get("id"): element for element in found if element.get("id") is not None}
    for element in found:
        if element.get("enabled") in ("0", "false"):
            continue
        own = element.get("sensor_id")
        sensor = element if own is None else sensors.get(own)
        lens_key = _written(element) if own is None else own
        pose = _pose_of(element, by_id, sensor, worlds)
        yield Labelled(element.get("label") or "", lens_key, pose, partial(_fit, sensor))


def _written(element: Element) -> tuple[tuple[str, str | None], ...]:
    """The calibration that a camera of the oldest files has of its own, to compare it with another's."""
    return tuple((each.tag, each.text) for calibration in element.iterfind("calibration") for each in calibration)


def _pose_of(
    element: Element,
    by_id: dict[str | None, Element],
    sensor: Element | None,
    worlds: dict[str | None, np.ndarray],
) -> Callable[[], np.ndarray] | None:
    """What gives the camera's pose; None where it has none."""
    text, from_master = element.findtext("transform"), np.eye(4)
    if text is None:
        master = by_id.get(element.get("master_id")) if element.get("master_id") is not None else None
        text = None if master is None else master.findtext("transform")
        if master is None or text is None or sensor is None:
            return None
        from_master = _hung(sensor)
        component = master.get("component_id")
    else:
        component = element.get("component_id")
    return partial(_pose, text, from_master, worlds.get(component, worlds[None]))


def _hung(sensor: Element) -> np.ndarray:
    """Master-from-camera [4, 4] of a sensor in a multi-camera system, in the chunk's unit. Raises ValueError."""
    place = np.eye(4)
    rotation, location = sensor.findtext("rotation", "").strip(), sensor.findtext("location", "").strip()
    if rotation:  # some versions write these elements empty
        place[:3, :3] = np.array(_numbers(rotation, 9)).reshape(3, 3)
    if location:
        place[:3, 3] = _numbers(location, 3)
    return place


def _pose(text: str, from_master: np.ndarray, world: np.ndarray) -> np.ndarray:
    try:
        with np.errstate(all="ignore"):  # what overflows is no pose
            chunk_from_camera = np.array(_numbers(text, 16)).reshape(4, 4) @ from_master
    except ValueError as error:
        raise BadView("its transform isn't 16 numbers") from error
    if not (np.isfinite(chunk_from_camera).all() and np.abs(chunk_from_camera).max() < 1e9):
        raise BadView("its pose holds values that are not finite")
    scale = float(np.cbrt(max(np.linalg.det(world[:3, :3]), 0.0)))
    if scale <= 0:
        raise BadView("its chunk is mirrored")
    pose = world @ chunk_from_camera @ _OPENGL_FROM_OPENCV
    pose[:3, :3] /= scale
    return np.asarray(pose)


def _fit(sensor: Element | None, header: PhotoHeader) -> Fit:
    return calibrated_lens(sensor)

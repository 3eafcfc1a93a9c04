"""Results as files from Blender, without a window: a .blend of the scene, pictures of the mesh.

    python -m sa3d_blender.deliver blend --scene scene.json --out scene.blend
    python -m sa3d_blender.deliver picture --scene scene.json --out a.png [--view STEM | --orbit AZ,EL] [--size WxH]

Exit status: 0, 1 with one sentence on standard error, 2 on bad usage. Needs Blender's Python module, bpy.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .protocol.errors import EnvironmentFault, PromptError, Sa3dError, StorageError

__all__ = ["deliver_blend", "deliver_picture", "empty_blender", "main"]

SAMPLES = 16
ORBIT_LENS_MM = 50.0
MARGIN = 1.06


def deliver_blend(path_json: Path, out: Path) -> None:
    """Writes a .blend that shows the result, with paths relative to it. Raises Sa3dError."""
    bpy = empty_blender()
    from .scene.build import build_scene
    from .scene.look import dress_scene, show_colours

    out = out.absolute()
    capture = build_scene(path_json, relative_to=out.parent, straighten=False)
    meshes = [one for one in capture.all_objects if one.type == "MESH" and "sa3d_label" not in one]
    centre, radius = _ball_around(meshes or list(capture.objects))
    from mathutils import Vector

    dress_scene(bpy.context.scene, Vector(centre), radius)
    for screen in bpy.data.screens:
        show_colours(screen, meshes, through_camera=True)
    bpy.context.preferences.filepaths.save_version = 0  # no .blend1 beside it
    with _AtOnce(out) as temporary, _silent():
        bpy.ops.wm.save_as_mainfile(filepath=str(temporary), relative_remap=False, compress=True)


def deliver_picture(
    path_json: Path, out: Path, view: str | None, orbit: tuple[float, float] | None, size: tuple[int, int]
) -> None:
    """Renders the meshes alone, with their vertex colours before nothing (RGBA PNG).

    From the camera of ``view`` (a stem; the prompted one by default), at the largest picture of the photo's
    proportions within ``size`` (width, height); or from ``orbit`` (azimuth from +X towards +Y and elevation, degrees),
    at a distance that shows everything, filling ``size``. Raises Sa3dError.
    """
    bpy = empty_blender()
    from .scene.cameras import add_camera, spread, use_view
    from .scene.description import read_description, without_lenses
    from .scene.glb import read_glb
    from .scene.look import dress_scene
    from .scene.meshes import add_mesh

    description = without_lenses(read_description(path_json))
    scene = bpy.context.scene
    meshes = [add_mesh(one.name, read_glb(one.mesh), scene.collection) for one in description.objects]
    if not meshes:
        raise StorageError(f"{path_json.name} has no objects to show.", "Segment one first.")
    bpy.context.view_layer.update()
    centre, radius = _ball_around(meshes)
    from mathutils import Vector

    dress_scene(scene, Vector(centre), radius)
    if orbit is None:
        shown = description.prompted_view if view is None else description.view(view)
        if shown is None:
            raise PromptError(f'There is no view "{view}" in {path_json.name}.', "Give the stem of one of its photos.")
        use_view(scene, add_camera(shown, scene.collection, spread(description.views)))
        bpy.context.view_layer.update()
        shrink = min(size[0] / shown.width, size[1] / shown.height)
        size = (max(1, round(shown.width * shrink)), max(1, round(shown.height * shrink)))
    else:
        scene.camera = _orbit_camera(centre, radius, orbit, size)
    _key_light(scene)
    _fast_cycles(scene, size)
    with _AtOnce(out.absolute()) as temporary, _silent():
        scene.render.filepath = str(temporary)
        bpy.ops.render.render(write_still=True)


def _key_light(scene: Any) -> None:
    """A soft sun over the camera's left shoulder, in exchange for some of the even light: shape shows only by shade.

    A surface facing the sun reflects 0.72 + 0.88 / pi = 1.0 of its colour.
    """
    import bpy
    from mathutils import Euler

    background = next(node for node in scene.world.node_tree.nodes if node.type == "BACKGROUND")
    background.inputs["Strength"].default_value = 0.72
    data = bpy.data.lights.new("Key", "SUN")
    data.energy, data.angle = 0.88, math.radians(20)
    sun = bpy.data.objects.new("Key", data)
    turned = scene.camera.matrix_world.to_3x3() @ Euler((math.radians(-35), math.radians(-35), 0)).to_matrix()
    sun.rotation_euler = turned.to_euler()
    scene.collection.objects.link(sun)


def _fast_cycles(scene: Any, size: tuple[int, int]) -> None:
    render = scene.render
    render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    import _cycles  # Blender's own module: some distributions build it without the denoiser

    denoised = bool(_cycles.with_openimagedenoise)
    scene.cycles.samples = SAMPLES if denoised else 4 * SAMPLES
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.use_denoising = denoised
    scene.cycles.max_bounces = 2  # one bounce of light from surface to surface; the light is even anyway
    render.film_transparent = True
    render.resolution_x, render.resolution_y = size
    render.resolution_percentage = 100
    render.image_settings.file_format = "PNG"
    render.image_settings.color_mode = "RGBA"


def _orbit_camera(centre: np.ndarray, radius: float, orbit: tuple[float, float], size: tuple[int, int]) -> Any:
    """A camera around the ball (centre, radius), with all of it in the picture."""
    import bpy
    from mathutils import Vector

    azimuth, elevation = (math.radians(angle) for angle in orbit)
    away = Vector(
        (math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation))
    )
    data = bpy.data.cameras.new("Orbit")
    data.lens = ORBIT_LENS_MM
    data.sensor_fit = "HORIZONTAL"
    half_width = math.atan(data.sensor_width / 2 / data.lens)
    half_height = math.atan(math.tan(half_width) * size[1] / size[0])
    distance = MARGIN * radius / math.sin(min(half_width, half_height))
    data.clip_start, data.clip_end = distance / 1000, distance + 10 * radius
    camera = bpy.data.objects.new("Orbit", data)
    camera.rotation_euler = (-away).to_track_quat("-Z", "Y").to_euler()
    camera.location = Vector(centre) + away * distance
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.view_layer.update()
    return camera


def _ball_around(objects: Sequence[Any]) -> tuple[np.ndarray, float]:
    """Centre [3] and radius of a ball that holds the objects' vertices (their origins where they have none)."""
    points = []
    for one in objects:
        matrix = np.array(one.matrix_world)
        local = np.zeros((1, 3), np.float32)
        if one.type == "MESH" and len(one.data.vertices):
            local = np.empty((len(one.data.vertices), 3), np.float32)
            one.data.vertices.foreach_get("co", local.ravel())
        points.append(local @ matrix[:3, :3].T + matrix[:3, 3])
    joined = np.concatenate(points)
    centre = (joined.min(axis=0) + joined.max(axis=0)) / 2
    radius = float(np.linalg.norm(joined - centre, axis=1).max())
    return centre, radius if radius > 0 else 1.0


def empty_blender() -> Any:
    """Blender's module with an empty file. Raises EnvironmentFault where it isn't installed."""
    try:
        import bpy
    except ImportError as fault:
        raise EnvironmentFault(
            "Blender's Python module can't be imported.", 'Install it: pip install "bpy>=4.5,<4.6" "numpy<2".'
        ) from fault
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keeps Blender's progress lines, which it prints from C, off standard output; what fails raises anyway."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


class _AtOnce:
    """A name to write to in the folder of ``out``, which takes its place when nothing failed."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.temporary = out.with_name(f".{out.stem}.{uuid.uuid4().hex[:8]}{out.suffix}")

    def __enter__(self) -> Path:
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise self._fault(fault.strerror or str(fault)) from fault
        return self.temporary

    def __exit__(self, kind: Any, fault: BaseException | None, _trace: Any) -> None:
        try:
            if fault is None:
                os.replace(self.temporary, self.out)
            elif self.temporary.exists():
                self.temporary.unlink()
        except OSError as other:
            raise self._fault(other.strerror or str(other)) from other
        if isinstance(fault, RuntimeError):  # how Blender's operators fail
            said = dict.fromkeys(str(fault).removeprefix("Error: ").strip().splitlines())  # it repeats itself
            raise self._fault(" ".join(said), "Mend what Blender names, or choose another folder.") from fault

    def _fault(self, why: str, cure: str = "Choose a folder with free space that you may write to.") -> StorageError:
        return StorageError(f"{self.out} can't be written: {why.rstrip('.')}.", cure)


def _pair(text: str, separator: str, kind: type) -> tuple[Any, Any]:
    first, second = text.lower().split(separator)
    return kind(first), kind(second)


def _size(text: str) -> tuple[int, int]:
    width, height = _pair(text, "x", int)
    if not (0 < width <= 8192 and 0 < height <= 8192):
        raise ValueError(text)
    return width, height


def _orbit(text: str) -> tuple[float, float]:
    azimuth, elevation = _pair(text, ",", float)
    if not (math.isfinite(azimuth) and -90 <= elevation <= 90):
        raise ValueError(text)
    return azimuth, elevation


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sa3d_blender.deliver", description=(__doc__ or "").split("\n")[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    blend = kinds.add_parser("blend", help="the scene as a .blend file")
    picture = kinds.add_parser("picture", help="the mesh as a picture")
    for one in (blend, picture):
        one.add_argument("--scene", type=Path, required=True, metavar="JSON")
        one.add_argument("--out", type=Path, required=True)
    where = picture.add_mutually_exclusive_group()
    where.add_argument("--view", metavar="STEM", help="from the camera of this photo")
    where.add_argument("--orbit", type=_orbit, metavar="AZ,EL", help="degrees, from +X towards +Y, and upwards")
    picture.add_argument("--size", type=_size, default=(480, 360), metavar="WxH")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # argparse takes "-60,25" for an option of its own, unless it is glued to --orbit.
    for at in reversed(range(len(given) - 1)):
        if given[at] == "--orbit":
            given[at : at + 2] = [f"--orbit={given[at + 1]}"]
    options = _parser().parse_args(given)
    try:
        if options.kind == "blend":
            deliver_blend(options.scene, options.out)
        else:
            deliver_picture(options.scene, options.out, options.view, options.orbit, options.size)
    except Sa3dError as fault:
        print(str(fault), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the 4.5 module may hang on an ordinary exit

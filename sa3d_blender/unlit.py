"""Pictures of a mesh in the cameras of photos, in its own colours: no light, no shade, nothing around it.

    python -m sa3d_blender.unlit --surface surface.npz [--texture texture.png] --scene scene.json --out FOLDER

``surface.npz`` holds ``vertices`` float [V, 3] in the capture's world, ``faces`` int [F, 3], and ``colours`` uint8
[V, 4] in sRGB, or with a texture ``uv`` float [V, 2] from its bottom-left corner. ``scene.json`` describes the views;
for each FOLDER gets an RGBA picture, ``0000.png`` the first's, whose alpha is how much of a pixel the mesh covers.

Exit status: 0, 1 with one sentence on standard error, 2 on bad usage. Needs Blender's Python module, bpy.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .deliver import empty_blender
from .protocol.errors import Sa3dError, StorageError

__all__ = ["linear_from_srgb", "main", "render_unlit"]

SAMPLES = 16  # rays a pixel


def linear_from_srgb(colours: np.ndarray) -> np.ndarray:
    """uint8 sRGB [V, 4] as linear float32 RGBA [V, 4] in [0, 1] (IEC 61966-2-1); alpha is linear already."""
    values = colours.astype(np.float64) / 255.0
    rgb = values[:, :3]
    values[:, :3] = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return values.astype(np.float32)


def render_unlit(surface: Path, texture: Path | None, path_json: Path, out: Path, samples: int = SAMPLES) -> None:
    """Renders the surface into ``out``, one picture a view, at the views' own sizes.

    Colours come through as they are: a texture's or vertex's sRGB value fills the pixels that it covers alone. Where
    several meet in a pixel they are mixed as light, as in a photo.

    Raises:
        StorageError: an input is missing or damaged, or a picture can't be written.
        EnvironmentFault: there is no bpy.
    """
    arrays = _read(surface)
    bpy = empty_blender()
    from .scene.cameras import add_camera, spread, use_view
    from .scene.description import read_capture_file

    views = read_capture_file(path_json).views
    scene = bpy.context.scene
    _place(arrays, texture, scene.collection)
    _set_up(scene, samples)
    out.mkdir(parents=True, exist_ok=True)
    scale = spread(views)
    for number, view in enumerate(views):
        use_view(scene, add_camera(view, scene.collection, scale))
        scene.render.filepath = str(out / f"{number:04d}.png")
        try:
            bpy.ops.render.render(write_still=True)
        except RuntimeError as fault:  # how Blender's operators fail
            raise StorageError(f"View {view.stem} can't be rendered: {fault}.", "Free some space.") from fault
        _print_progress(number + 1, len(views))


def _read(surface: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(surface) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as fault:
        raise StorageError(
            f"The surface {surface.name} can't be read: {fault}.", "Let the engine write it again."
        ) from fault


def _place(arrays: dict[str, np.ndarray], texture: Path | None, collection: Any) -> None:
    """The surface as an object that shines in its own colours."""
    import bpy

    from .scene.meshes import COLOUR_ATTRIBUTE, base_of, fill_mesh

    vertices, faces = arrays["vertices"], arrays["faces"]
    origin = base_of(vertices)  # single precision then is precise where the object is, however far away that may be
    colours = None if texture is not None else linear_from_srgb(arrays["colours"])
    data = bpy.data.meshes.new("surface")
    uv = None if texture is None else arrays["uv"][faces]
    fill_mesh(data, vertices - origin, faces, colours, uv)
    material, tree = _shining()
    if texture is None:
        source = tree.nodes.new("ShaderNodeVertexColor")
        source.layer_name = COLOUR_ATTRIBUTE
    else:
        source = tree.nodes.new("ShaderNodeTexImage")
        source.image = bpy.data.images.load(str(texture))
        source.interpolation, source.extension = "Linear", "EXTEND"
    tree.links.new(source.outputs["Color"], tree.nodes["Emission"].inputs["Color"])
    data.materials.append(material)
    placed = bpy.data.objects.new("surface", data)
    placed.location = origin.tolist()
    collection.objects.link(placed)


def _shining() -> tuple[Any, Any]:
    """A material that emits light and does nothing else, and its node tree."""
    import bpy

    material = bpy.data.materials.new("unlit")
    if material.node_tree is None:  # from 5.0 on it always has one, and asking for it is deprecated
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    shine, output = tree.nodes.new("ShaderNodeEmission"), tree.nodes.new("ShaderNodeOutputMaterial")
    shine.name = "Emission"
    tree.links.new(shine.outputs["Emission"], output.inputs["Surface"])
    return material, tree


def _set_up(scene: Any, samples: int) -> None:
    render, cycles = scene.render, scene.cycles
    render.engine, cycles.device, cycles.seed = "CYCLES", "CPU", 0
    cycles.samples, cycles.use_adaptive_sampling, cycles.use_denoising, cycles.max_bounces = samples, False, False, 0
    cycles.pixel_filter_type = "BOX"  # a pixel is the mean over its own square
    render.use_persistent_data = True  # the surface stays as it is from view to view
    render.film_transparent = True
    render.use_file_extension = False
    render.dither_intensity = 0.0
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGBA"
    render.image_settings.color_depth, render.image_settings.compression = "8", 15
    # Any other transform would change the colours.
    scene.view_settings.view_transform, scene.view_settings.look = "Standard", "None"
    scene.view_settings.exposure, scene.view_settings.gamma = 0.0, 1.0


def _print_progress(done: int, total: int) -> None:
    print(json.dumps({"done": done, "total": total}), file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sa3d_blender.unlit", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--surface", type=Path, required=True, metavar="NPZ")
    parser.add_argument("--texture", type=Path, metavar="PNG")
    parser.add_argument("--scene", type=Path, required=True, metavar="JSON")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="rays a pixel")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    given = _parser().parse_args(arguments)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # Blender prints a line for each picture
    try:
        with tempfile.TemporaryDirectory(prefix="sa3d-unlit-") as settings:
            # The user's own add-ons and preferences must change nothing here; read when bpy is imported.
            os.environ["BLENDER_USER_RESOURCES"] = settings
            render_unlit(given.surface, given.texture, given.scene, given.out.absolute(), given.samples)
    except Sa3dError as fault:
        print(fault, file=sys.stderr)
        return 1
    return 0


def _run_and_leave() -> None:
    """End the process without Blender's own clean-up, which can hang in the module of 4.5."""
    try:
        code = main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _run_and_leave()

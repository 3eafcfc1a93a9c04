"""Renders training scenes: ``python -m sa3d_blender.synthetic --out DIR --scenes N``, in a Python that has bpy.

Every view gives NNNNN-V.jpg, the photo, and NNNNN-V.png, whose red, green and blue are instance, part and group
(see ``build_scene``). Scene NNNNN depends on ``--seed`` and its number alone, so that several processes can each
render a stretch of them (``--first``). Pictures are written to a temporary name first; those that exist are kept.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sa3d_blender.protocol.errors import Sa3dError

SIDES = (384, 288)  # the longer and the shorter side of a photo in pixels


def main(arguments: list[str] | None = None, silent: bool = False) -> int:
    """Run the command; 0 is success, 1 a failure explained in one line on stderr.

    ``silent`` closes standard output once the arguments are understood, for good.
    """
    parser = argparse.ArgumentParser(prog="python -m sa3d_blender.synthetic", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; what is there is kept")
    parser.add_argument("--models", type=Path, help="folder with one folder of OBJ or glTF for every textured model")
    parser.add_argument("--first", type=int, default=0, help="number of the first scene")
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--views", type=int, default=3, help="views of every scene")
    parser.add_argument("--samples", type=int, default=6, help="rays per pixel before denoising")
    parser.add_argument("--threads", type=int, default=0, help="threads of Cycles (0: all)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if silent:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Blender prints a line for each picture
    try:
        with tempfile.TemporaryDirectory(prefix="sa3d-synthetic-") as settings:
            os.environ["BLENDER_USER_RESOURCES"] = settings
            _render_all(given, Path(settings))
    except Sa3dError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _render_all(given: argparse.Namespace, scratch: Path) -> None:
    import bpy

    from sa3d_blender.synthetic.library import load_models
    from sa3d_blender.synthetic.scenes import build_scene, random_camera

    given.out.mkdir(parents=True, exist_ok=True)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    models = load_models(given.models.absolute(), scratch) if given.models else []
    for number in range(given.first, given.first + given.scenes):
        names = [given.out / f"{number:05d}-{view}" for view in range(given.views)]
        if all(name.with_suffix(".png").exists() for name in names):
            continue
        rng = np.random.default_rng([given.seed, number])
        _empty(bpy.data)
        build_scene(rng, models)
        for name in names:
            size = SIDES if rng.random() < 0.75 else SIDES[::-1]
            random_camera(rng, *size)
            _render_photo(name.with_suffix(".jpg"), given.samples, number, given.threads)
            _render_identities(name.with_suffix(".png"))
        print(f"{number + 1 - given.first} of {given.scenes} scenes", file=sys.stderr, flush=True)


def _empty(data: Any) -> None:
    """Removes everything but the library's meshes with their materials and images."""
    for things in (data.objects, data.lights, data.worlds, data.cameras):
        for item in list(things):
            things.remove(item)
    for kind in (data.meshes, data.materials):
        for item in list(kind):
            if item.users == 0:
                kind.remove(item)


def _render_photo(path: Path, samples: int, seed: int, threads: int) -> None:
    import bpy

    scene = bpy.context.scene
    _common(scene, seed, threads)
    scene.cycles.samples, scene.cycles.filter_width = samples, 1.5
    scene.cycles.max_bounces, scene.cycles.diffuse_bounces = 3, 2
    scene.cycles.use_denoising, scene.cycles.denoiser = True, "OPENIMAGEDENOISE"
    scene.cycles.denoising_input_passes, scene.cycles.denoising_prefilter = "RGB_ALBEDO_NORMAL", "FAST"
    scene.view_layers[0].material_override = None
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "JPEG", "RGB"
    scene.render.image_settings.quality = 95
    _render(scene, path)


def _render_identities(path: Path) -> None:
    import bpy

    scene = bpy.context.scene
    scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.max_bounces = 1, False, 0
    scene.cycles.filter_width = 0.01  # the one ray meets the middle of the pixel
    scene.view_settings.view_transform = "Raw"
    scene.view_layers[0].material_override = bpy.data.materials.get("identity") or _identity_material()
    world, scene.world = scene.world, None
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGB"
    _render(scene, path)
    scene.world = world


def _render(scene: Any, path: Path) -> None:
    import bpy

    part = path.with_name(f".{path.name}")
    scene.render.filepath = str(part)
    bpy.ops.render.render(write_still=True)
    os.replace(part, path)


def _common(scene: Any, seed: int, threads: int) -> None:
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.seed = "CPU", seed
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.pixel_filter_type = "BLACKMAN_HARRIS"
    scene.render.threads_mode = "FIXED" if threads else "AUTO"
    scene.render.threads = max(threads, 1)
    scene.render.use_persistent_data = False
    scene.render.use_file_extension = False
    scene.render.dither_intensity = 0.0
    scene.render.resolution_percentage = 100
    scene.render.image_settings.color_depth = "8"


def _identity_material() -> Any:
    """A material that shines in the object's own colour."""
    import bpy

    material = bpy.data.materials.new("identity")
    material.use_nodes, material.use_fake_user = True, True
    tree = material.node_tree
    tree.nodes.clear()
    info = tree.nodes.new("ShaderNodeObjectInfo")
    shine = tree.nodes.new("ShaderNodeEmission")
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(info.outputs["Color"], shine.inputs["Color"])
    tree.links.new(shine.outputs["Emission"], output.inputs["Surface"])
    return material


def _run_and_leave() -> None:
    """End the process without Blender's own clean-up, which can hang in the module of 4.5."""
    try:
        code = main(silent=True)
    except SystemExit as left:  # of --help and of wrong arguments, which have said what they have to
        code = left.code if isinstance(left.code, int) else 1
        sys.stdout.flush()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    os._exit(code)


if __name__ == "__main__":
    _run_and_leave()

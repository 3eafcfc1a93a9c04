"""The two ways the demo scene is rendered with Cycles: as a photo, and as exact instance indices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sa3d_blender.demo.png import strip_notes
from sa3d_blender.demo.stage import Stage


def set_up_photos(stage: Stage, samples: int, seed: int) -> None:
    """Low-noise colour pictures: ``samples`` per pixel, then Open Image Denoise."""
    scene = stage.scene
    _common(scene, seed)
    cycles, render = scene.cycles, scene.render
    cycles.samples, cycles.pixel_filter_type, cycles.filter_width = samples, "BLACKMAN_HARRIS", 1.5
    cycles.max_bounces, cycles.diffuse_bounces = 2, 2
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.denoising_input_passes, cycles.denoising_prefilter = "RGB_ALBEDO_NORMAL", "FAST"
    scene.view_settings.view_transform = "Standard"
    stage.scene.view_layers[0].material_override = None
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGB"


def set_up_masks(stage: Stage, seed: int) -> None:
    """Flat pictures whose grey value is the index of the object at the middle of the pixel."""
    scene = stage.scene
    _common(scene, seed)
    cycles, render = scene.cycles, scene.render
    cycles.samples, cycles.use_denoising, cycles.max_bounces = 1, False, 0
    # The box filter ignores its width; this one shrinks, so that the one ray meets the middle of the pixel.
    cycles.pixel_filter_type, cycles.filter_width = "BLACKMAN_HARRIS", 0.01
    scene.view_settings.view_transform = "Raw"
    scene.world = None
    scene.view_layers[0].material_override = _index_material()
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "BW"


def render_to(stage: Stage, world_from_camera: np.ndarray, path: Path) -> None:
    """Render the scene from that camera into the PNG ``path``."""
    import bpy
    from mathutils import Matrix

    stage.camera.matrix_world = Matrix(world_from_camera.tolist())
    stage.scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    strip_notes(path)


def read_mask(path: Path) -> np.ndarray:
    """Instance indices uint8 [H, W], top row first, of a mask written by ``render_to``."""
    import bpy

    image = bpy.data.images.load(str(path))
    try:
        image.colorspace_settings.name = "Non-Color"
        width, height = image.size
        values = np.empty(width * height * image.channels, dtype=np.float32)
        image.pixels.foreach_get(values)
    finally:
        bpy.data.images.remove(image)
    grey = values.reshape(height, width, -1)[::-1, :, 0]
    return np.rint(grey * 255).astype(np.uint8)


def _common(scene: Any, seed: int) -> None:
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.seed = "CPU", seed
    scene.cycles.use_adaptive_sampling = False
    scene.render.use_persistent_data = True
    scene.render.use_file_extension = False
    scene.render.dither_intensity = 0.0
    scene.render.image_settings.color_depth = "8"
    scene.view_settings.look, scene.view_settings.exposure, scene.view_settings.gamma = "None", 0.0, 1.0


def _index_material() -> Any:
    """A material that shines with the object's pass index / 255."""
    import bpy

    material = bpy.data.materials.new("instance index")
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    info = tree.nodes.new("ShaderNodeObjectInfo")
    scaled = tree.nodes.new("ShaderNodeMath")
    scaled.operation = "DIVIDE"
    scaled.inputs[1].default_value = 255.0
    shine = tree.nodes.new("ShaderNodeEmission")
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(info.outputs["Object Index"], scaled.inputs[0])
    tree.links.new(scaled.outputs["Value"], shine.inputs["Color"])
    tree.links.new(shine.outputs["Emission"], output.inputs["Surface"])
    return material

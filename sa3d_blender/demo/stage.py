"""The scene of the demo: five textured bodies on a round table under soft light."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sa3d_blender.demo import materials, shapes
from sa3d_blender.demo.orbit import FOCAL_OVER_WIDTH

# Name -> instance index in the masks; 0 is everything else (the table and what lies behind it).
OBJECTS = {"vase": 1, "ball": 2, "brick": 3, "ring": 4, "cone": 5}
SENSOR_WIDTH = 36.0


@dataclass(frozen=True)
class Stage:
    """The built scene: ``scene``, ``camera`` and ``objects`` (name -> object) are bpy data."""

    scene: Any
    camera: Any
    objects: dict[str, Any]


def build_stage(width: int, height: int) -> Stage:
    """Empty the open file and build the scene in it, for pictures of ``width`` x ``height`` pixels."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = width, height, 100
    objects = {
        "vase": _body("vase", _vase(), (0.02, 0.02, 0.0), _vase_material()),
        "ball": _body("ball", shapes.ball(0.1), (0.17, -0.19, 0.0), _ball_material()),
        "brick": _block("brick", 0.19, (-0.24, -0.1, 0.0), 25.0, _brick_material()),
        "ring": _body("ring", shapes.ring(0.085, 0.04), (-0.15, 0.24, 0.0), _ring_material()),
        "cone": _body("cone", _cone(), (0.26, 0.15, 0.0), _cone_material()),
    }
    for name, item in objects.items():
        item.pass_index = OBJECTS[name]
    _body("table", _table(), (0.0, 0.0, -0.04), _table_material())
    _lights(scene)
    return Stage(scene, _camera(scene), objects)


def _vase() -> shapes.Shape:
    """A full body 0.3 high with a foot, a belly, a neck and a shallow dent on top."""
    outside = shapes.smooth_profile(
        [(0.062, 0.012), (0.075, 0.04), (0.1, 0.1), (0.098, 0.15), (0.06, 0.21), (0.05, 0.25), (0.07, 0.296)]
    )
    rim = [(0.066, 0.3), (0.058, 0.298), (0.04, 0.29), (0.02, 0.285)]
    return shapes.lathe([(0.0, 0.0), (0.03, 0.0), (0.058, 0.0), (0.062, 0.004), *outside, *rim, (0.0, 0.284)])


def _cone() -> shapes.Shape:
    """A cone 0.26 high with a blunt tip."""
    side = [(0.1 - 0.085 * t / 8, 0.008 + 0.242 * t / 8) for t in range(9)]
    tip = [(0.0115, 0.2556), (0.006, 0.259)]
    return shapes.lathe([(0.0, 0.0), (0.05, 0.0), (0.095, 0.0), (0.099, 0.003), *side, *tip, (0.0, 0.26)])


def _table() -> shapes.Shape:
    """A disc of radius 0.52 whose top lies at a height of 0.04."""
    return shapes.lathe([(0.0, 0.0), (0.5, 0.0), (0.52, 0.01), (0.52, 0.035), (0.515, 0.04), (0.0, 0.04)], 96)


def _vase_material() -> Any:
    colours = [(0.75, 0.06, 0.05), (0.85, 0.78, 0.6), (0.04, 0.1, 0.42), (0.85, 0.78, 0.6)]
    return materials.waves("vase", colours, 4.0, 2.5, "Z")


def _ball_material() -> Any:
    return materials.waves("ball", [(0.9, 0.38, 0.03), (0.05, 0.3, 0.12), (0.9, 0.8, 0.2)], 4.5, 1.5, "DIAGONAL")


def _brick_material() -> Any:
    return materials.bricks("brick", (0.5, 0.1, 0.05), (0.75, 0.32, 0.12), (0.75, 0.72, 0.66), 6.5)


def _ring_material() -> Any:
    colours = [(0.05, 0.5, 0.55), (0.9, 0.85, 0.8), (0.55, 0.08, 0.4), (0.1, 0.12, 0.3), (0.9, 0.55, 0.1)]
    return materials.cells("ring", colours, 28.0)


def _cone_material() -> Any:
    return materials.checker("cone", (0.32, 0.1, 0.5), (0.85, 0.75, 0.15), 22.0)


def _table_material() -> Any:
    colours = [(0.06, 0.09, 0.08), (0.2, 0.28, 0.24), (0.5, 0.55, 0.45), (0.15, 0.2, 0.22), (0.36, 0.36, 0.28)]
    return materials.cells("table", colours, 26.0, 0.45)


def _body(name: str, shape: shapes.Shape, location: tuple[float, float, float], material: Any) -> Any:
    """``shape`` as a smooth object that stands at ``location``."""
    import bpy

    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(shape.vertices.tolist(), [], [list(face) for face in shape.faces])
    mesh.update()
    mesh.shade_smooth()
    return _place(name, mesh, location, 0.0, material)


def _block(name: str, side: float, location: tuple[float, float, float], degrees: float, material: Any) -> Any:
    """A cube with rounded edges and a UV map, turned about +Z by ``degrees``."""
    import bmesh
    import bpy

    mesh = bpy.data.meshes.new(name)
    work = bmesh.new()
    try:
        work.loops.layers.uv.new("UVMap")
        bmesh.ops.create_cube(work, size=side, calc_uvs=True)
        bmesh.ops.translate(work, vec=(0.0, 0.0, side / 2), verts=work.verts)
        work.to_mesh(mesh)
    finally:
        work.free()
    # calc_uvs gives each side the whole square, so bricks have the same size on all of them.
    item = _place(name, mesh, location, degrees, material)
    bevel = item.modifiers.new("Rounded edges", "BEVEL")
    bevel.width, bevel.segments = 0.008, 3
    return item


def _place(name: str, mesh: Any, location: tuple[float, float, float], degrees: float, material: Any) -> Any:
    import bpy

    mesh.materials.append(material)
    item = bpy.data.objects.new(name, mesh)
    item.location, item.rotation_euler = location, (0.0, 0.0, math.radians(degrees))
    bpy.context.scene.collection.objects.link(item)
    return item


def _lights(scene: Any) -> None:
    """An even sky and two large lamps, all fixed: the light must not move with the camera."""
    import bpy
    from mathutils import Vector

    world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    background = world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (0.75, 0.8, 0.88, 1.0)
    background.inputs["Strength"].default_value = 0.55
    scene.world = world
    for name, place, size, watts in (
        ("key", Vector((1.2, -0.9, 2.0)), 1.6, 42.0),
        ("fill", Vector((-1.4, 1.0, 1.6)), 2.0, 22.0),
    ):
        lamp = bpy.data.lights.new(name, "AREA")
        lamp.shape, lamp.size, lamp.energy = "DISK", size, watts
        item = bpy.data.objects.new(name, lamp)
        item.location = place
        item.rotation_euler = (-place).to_track_quat("-Z", "Y").to_euler()
        item.visible_camera = False
        scene.collection.objects.link(item)


def _camera(scene: Any) -> Any:
    import bpy

    data = bpy.data.cameras.new("camera")
    data.sensor_fit, data.sensor_width, data.lens = "HORIZONTAL", SENSOR_WIDTH, FOCAL_OVER_WIDTH * SENSOR_WIDTH
    data.clip_start, data.clip_end = 0.01, 100.0
    item = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(item)
    scene.camera = item
    return item

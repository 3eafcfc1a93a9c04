"""One random scene: a table or a floor in a room, things on it (some touching, stacked or alike), lamps, cameras."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sa3d_blender.demo.shapes import lathe
from sa3d_blender.synthetic import shapes
from sa3d_blender.synthetic.library import Model
from sa3d_blender.synthetic.materials import Palette, any_colour, narrow_palette, random_material
from sa3d_blender.synthetic.things import KINDS, Part

MOST_THINGS = 14
MODEL_SHARE = 0.3  # of the things are models of the library, where there is one


def build_scene(rng: np.random.Generator, models: Sequence[Model]) -> None:
    """Fills the open (empty) file with a new scene.

    Every part's object colour says what it is: red = instance, green = part within it (1, 2, ...), blue = group of
    things that touch, each as n / 255; 0 is the room. A thing that touches no other is a group by itself.
    """
    palette: Palette = narrow_palette(rng) if rng.random() < 0.18 else any_colour
    extent = rng.uniform(0.28, 0.5)
    _room(rng, palette if rng.random() < 0.5 else any_colour, extent)
    placed: list[tuple[float, float, float, float]] = []  # x, y, radius, top
    groups: list[int] = []
    count = int(rng.integers(4, MOST_THINGS + 1))
    previous: tuple[str, list[Any]] | None = None
    for instance in range(1, count + 1):
        size = float(np.exp(rng.uniform(np.log(0.09), np.log(0.4))))
        alike = previous is not None and rng.random() < 0.18
        if alike and previous is not None:
            meshes = [mesh.copy() for mesh in previous[1]]
        elif models and rng.random() < MODEL_SHARE:
            model = models[int(rng.integers(len(models)))]
            meshes = [mesh.copy() for mesh in model.parts]
        else:
            meshes = _meshes(rng, palette)
        previous = ("", meshes)
        radius, height = _settle(rng, meshes, size)
        spot = _spot(rng, placed, radius, extent, 0.6 if alike else 0.3)
        if spot is None:
            continue
        x, y, z, touched = spot
        group = groups[touched] if touched is not None else instance
        placed.append((x, y, radius, z + height))
        groups.append(group)
        for number, mesh in enumerate(meshes, 1):
            _add(f"thing {instance}.{number}", mesh, (x, y, z), (instance, number if len(meshes) > 1 else 0, group))
    _lights(rng)


def random_camera(rng: np.random.Generator, width: int, height: int) -> None:
    """Moves the scene's camera (made where there is none) to a new place that looks at the things."""
    import bpy
    from mathutils import Vector

    scene = bpy.context.scene
    if scene.camera is None:
        scene.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        scene.collection.objects.link(scene.camera)
    camera = scene.camera
    camera.data.sensor_fit, camera.data.sensor_width = "HORIZONTAL", 36.0
    camera.data.lens, camera.data.clip_start = float(rng.uniform(24, 75)), 0.01
    up, around = math.radians(rng.uniform(6, 75)), rng.uniform(0, 2 * math.pi)
    distance = rng.uniform(0.4, 1.2) * camera.data.lens / 36
    target = Vector((*rng.normal(0, 0.12, 2), rng.uniform(0.0, 0.12)))
    at = target + distance * Vector((math.cos(up) * math.cos(around), math.cos(up) * math.sin(around), math.sin(up)))
    at.z = max(at.z, 0.06)
    camera.location = at
    camera.rotation_euler = (target - at).to_track_quat("-Z", "Y").to_euler()
    camera.rotation_euler.rotate_axis("Z", float(rng.normal(0, 0.08)))
    scene.render.resolution_x, scene.render.resolution_y = width, height
    scene.view_settings.view_transform = "Standard" if rng.random() < 0.7 else "AgX"


def _meshes(rng: np.random.Generator, palette: Palette) -> list[Any]:
    kinds = list(KINDS)
    shares = np.array([KINDS[kind] for kind in kinds])
    thing = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))](rng)
    meshes: list[Any] = []
    for part in thing:
        meshes.append(_mesh(rng, part, palette, meshes))
    return meshes


def _mesh(rng: np.random.Generator, part: Part, palette: Palette, earlier: Sequence[Any]) -> Any:
    import bpy

    mesh = bpy.data.meshes.new("part")
    mesh.from_pydata(part.shape.vertices.tolist(), [], [list(face) for face in part.shape.faces])
    mesh.update()
    if part.smooth:
        mesh.shade_smooth()
    if part.like is not None:
        mesh.materials.append(earlier[part.like].materials[0])
    elif part.faceted:
        for _ in range(6):
            mesh.materials.append(random_material(rng, palette, 3.0))
        normals = np.array([polygon.normal for polygon in mesh.polygons])
        axis = np.abs(normals).argmax(1)
        which = 2 * axis + (normals[np.arange(len(normals)), axis] > 0)
        mixed = rng.random() < 0.2  # a puzzle in the middle of its solution
        which = rng.integers(0, 6, len(which)) if mixed else which
        mesh.polygons.foreach_set("material_index", which.astype(np.int32))
    else:
        mesh.materials.append(random_material(rng, palette, 2.0))
    return mesh


def _settle(rng: np.random.Generator, meshes: Sequence[Any], size: float) -> tuple[float, float]:
    """Turns, scales and rests the parts on z = 0 in the middle of x and y; returns radius and height."""
    from mathutils import Euler, Matrix

    tilt = rng.choice([0.0, math.pi / 2, rng.uniform(0, math.pi)], p=[0.66, 0.22, 0.12])
    turn = Euler((float(tilt), 0.0, float(rng.uniform(0, 2 * math.pi)))).to_matrix().to_4x4()
    for mesh in meshes:
        mesh.transform(turn)
    points = np.concatenate([_points(mesh) for mesh in meshes])
    low, high = points.min(0), points.max(0)
    scale = size / float((high - low).max())
    centre = [-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]]
    place = Matrix.Scale(scale, 4) @ Matrix.Translation(centre)
    for mesh in meshes:
        mesh.transform(place)
    span = (high - low) * scale
    return float(np.hypot(span[0], span[1]) / 2 * 0.8), float(span[2])


def _points(mesh: Any) -> np.ndarray:
    flat = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", flat)
    return flat.reshape(-1, 3)


def _spot(
    rng: np.random.Generator, placed: Sequence[tuple[float, float, float, float]], radius: float, extent: float,
    near: float,
) -> tuple[float, float, float, int | None] | None:  # fmt: skip
    """A free place (x, y, z) and the thing it touches: beside one, on one, or nowhere near one; None where none is."""
    kind = rng.random()
    if placed and kind < near:
        touched = int(rng.integers(len(placed)))
        x, y, r, top = placed[touched]
        if kind < 0.25 * near:  # on top
            return x + rng.normal(0, 0.2) * r, y + rng.normal(0, 0.2) * r, top, touched
        angle, away = rng.uniform(0, 2 * math.pi), (r + radius) * rng.uniform(0.72, 0.95)
        return x + away * math.cos(angle), y + away * math.sin(angle), 0.0, touched
    for _ in range(30):
        x, y = rng.uniform(-extent, extent, 2)
        if all(math.hypot(x - a, y - b) > r + radius for a, b, r, _ in placed):
            return float(x), float(y), 0.0, None
    return None


def _add(name: str, mesh: Any, at: tuple[float, float, float], identity: tuple[int, int, int]) -> None:
    import bpy

    item = bpy.data.objects.new(name, mesh)
    item.location = at
    item.color = (*(n / 255 for n in identity), 1.0)
    bpy.context.scene.collection.objects.link(item)


def _room(rng: np.random.Generator, palette: Palette, extent: float) -> None:
    """Floor, table, walls and large things in the background, none of which can be clicked."""
    table = rng.random() < 0.6
    ground = -rng.uniform(0.3, 0.8) if table else 0.0
    if table:
        half = extent * rng.uniform(1.0, 1.7)
        if rng.random() < 0.5:
            top = lathe([(0, -0.04), (half, -0.04), (half * 1.01, -0.02), (half, 0.0), (0, 0.0)], 64)
        else:
            top = shapes.moved(shapes.slab(2 * half, 2 * half * rng.uniform(0.6, 1), 0.05), (0, 0, -0.05))
        _add("table", _mesh(rng, Part(top, smooth=False), palette, ()), (0, 0, -0.0005), (0, 0, 0))
    floor = shapes.slab(12, 12, 0.02)
    _add("floor", _mesh(rng, Part(floor, smooth=False), palette, ()), (0, 0, ground - 0.021), (0, 0, 0))
    for _ in range(int(rng.integers(0, 9))):
        angle, away = rng.uniform(0, 2 * math.pi), rng.uniform(1.3, 3.5)
        large = shapes.slab(rng.uniform(0.05, 1.5), rng.uniform(0.05, 1.5), rng.uniform(0.3, 2.2))
        if rng.random() < 0.25:
            large = shapes.moved(shapes.blob(rng), (0, 0, 0), (1.2, 1.2, 1.2))
        at = (away * math.cos(angle), away * math.sin(angle), ground)
        _add("background", _mesh(rng, Part(large, smooth=False), any_colour, ()), at, (0, 0, 0))


def _lights(rng: np.random.Generator) -> None:
    import bpy
    from mathutils import Vector

    scene = bpy.context.scene
    world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    sky = world.node_tree.nodes["Background"]
    tint = np.clip(np.array([0.8, 0.82, 0.85]) + rng.normal(0, 0.1, 3), 0.2, 1)
    sky.inputs["Color"].default_value = (*tint.tolist(), 1.0)
    sky.inputs["Strength"].default_value = float(rng.uniform(0.1, 0.65))
    scene.world = world
    for _ in range(int(rng.integers(1, 4))):
        lamp = bpy.data.lights.new("lamp", "AREA")
        lamp.shape, lamp.size = "DISK", float(np.exp(rng.uniform(np.log(0.1), np.log(2.0))))
        lamp.energy = float(np.exp(rng.uniform(np.log(4), np.log(28))))
        lamp.color = tuple(np.clip(1 + rng.normal(0, 0.1, 3), 0.6, 1).tolist())
        item = bpy.data.objects.new("lamp", lamp)
        place = Vector((*rng.normal(0, 1.0, 2), rng.uniform(1.0, 2.4)))
        item.location = place
        item.rotation_euler = (-place).to_track_quat("-Z", "Y").to_euler()
        item.visible_camera = False
        scene.collection.objects.link(item)

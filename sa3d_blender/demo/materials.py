"""Matt procedural materials with strong, distinct textures: what a radiance field can hold on to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Colour = tuple[float, float, float]


def _node(tree: Any, kind: str, **inputs: Any) -> Any:
    """A new node with the given input values (underscores in names stand for spaces)."""
    node = tree.nodes.new(kind)
    for name, value in inputs.items():
        node.inputs[name.replace("_", " ")].default_value = value
    return node


def _ramp(tree: Any, factor: Any, colours: Sequence[Colour], hard: bool) -> Any:
    """Output of a colour ramp over ``factor``; ``hard`` gives bands instead of a gradient."""
    node = tree.nodes.new("ShaderNodeValToRGB")
    ramp = node.color_ramp
    ramp.interpolation = "CONSTANT" if hard else "LINEAR"
    span = len(colours) if hard else len(colours) - 1
    while len(ramp.elements) < len(colours):
        ramp.elements.new(0.5)
    for index, colour in enumerate(colours):
        ramp.elements[index].position = index / span
        ramp.elements[index].color = (*colour, 1.0)
    tree.links.new(factor, node.inputs["Fac"])
    return node.outputs["Color"]


def _speckled(tree: Any, colour: Any, coordinates: Any, scale: float, low: float) -> Any:
    """``colour`` darkened here and there by noise, from 1 down to about ``low``."""
    noise = _node(tree, "ShaderNodeTexNoise", Scale=scale, Detail=3.0, Roughness=0.6)
    tree.links.new(coordinates, noise.inputs["Vector"])
    span = tree.nodes.new("ShaderNodeMapRange")
    for name, value in (("From Min", 0.35), ("From Max", 0.65), ("To Min", low), ("To Max", 1.0)):
        span.inputs[name].default_value = value
    tree.links.new(noise.outputs[0], span.inputs["Value"])
    multiply = tree.nodes.new("ShaderNodeVectorMath")
    multiply.operation = "SCALE"
    tree.links.new(colour, multiply.inputs[0])
    tree.links.new(span.outputs["Result"], multiply.inputs["Scale"])
    return multiply.outputs["Vector"]


def _start(name: str, coordinates: str) -> tuple[Any, Any, Any]:
    """A new material, its emptied node tree and the texture coordinates of that kind."""
    import bpy

    material = bpy.data.materials.new(name)
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    return material, tree, tree.nodes.new("ShaderNodeTexCoord").outputs[coordinates]


def _finish(material: Any, tree: Any, colour: Any) -> Any:
    shader = _node(tree, "ShaderNodeBsdfDiffuse")
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(colour, shader.inputs["Color"])
    tree.links.new(shader.outputs["BSDF"], output.inputs["Surface"])
    return material


def waves(name: str, colours: Sequence[Colour], scale: float, distortion: float, direction: str) -> Any:
    """Wavy hard bands along an axis ("X", "Y", "Z" or "DIAGONAL") of the object."""
    material, tree, at = _start(name, "Object")
    wave = _node(tree, "ShaderNodeTexWave", Scale=scale, Distortion=distortion, Detail=1.0, Detail_Scale=2.0)
    wave.bands_direction, wave.wave_profile = direction, "SAW"
    tree.links.new(at, wave.inputs["Vector"])
    return _finish(material, tree, _speckled(tree, _ramp(tree, wave.outputs["Fac"], colours, True), at, 45.0, 0.55))


def checker(name: str, first: Colour, second: Colour, scale: float) -> Any:
    """Speckled checks in the space of the object."""
    material, tree, at = _start(name, "Object")
    # Off the origin: a face that lies exactly on a border between checks would flicker between the two.
    moved = _node(tree, "ShaderNodeMapping", Location=(0.0137, 0.0171, 0.0093), Rotation=(0.0, 0.0, 0.4))
    tree.links.new(at, moved.inputs["Vector"])
    checks = _node(tree, "ShaderNodeTexChecker", Color1=(*first, 1.0), Color2=(*second, 1.0), Scale=scale)
    tree.links.new(moved.outputs["Vector"], checks.inputs["Vector"])
    return _finish(material, tree, _speckled(tree, checks.outputs["Color"], at, 40.0, 0.5))


def bricks(name: str, first: Colour, second: Colour, mortar: Colour, scale: float) -> Any:
    """Bricks in mortar over the UV map."""
    material, tree, at = _start(name, "UV")
    wall = _node(
        tree,
        "ShaderNodeTexBrick",
        Color1=(*first, 1.0),
        Color2=(*second, 1.0),
        Mortar=(*mortar, 1.0),
        Scale=scale,
        Mortar_Size=0.035,
        Bias=0.0,
        Brick_Width=0.7,
        Row_Height=0.35,
    )
    tree.links.new(at, wall.inputs["Vector"])
    return _finish(material, tree, _speckled(tree, wall.outputs["Color"], at, 8.0, 0.55))


def cells(name: str, colours: Sequence[Colour], scale: float, low: float = 0.6) -> Any:
    """Irregular cells, each of one of ``colours``."""
    material, tree, at = _start(name, "Object")
    voronoi = _node(tree, "ShaderNodeTexVoronoi", Scale=scale)
    tree.links.new(at, voronoi.inputs["Vector"])
    single = tree.nodes.new("ShaderNodeSeparateColor")
    tree.links.new(voronoi.outputs["Color"], single.inputs["Color"])
    picked = _ramp(tree, single.outputs[0], colours, True)
    return _finish(material, tree, _speckled(tree, picked, at, 50.0, low))


def marble(name: str, colours: Sequence[Colour], scale: float) -> Any:
    """Cloudy noise through a gradient with sharp veins."""
    material, tree, at = _start(name, "Object")
    noise = _node(tree, "ShaderNodeTexNoise", Scale=scale, Detail=4.0, Roughness=0.65, Distortion=1.2)
    tree.links.new(at, noise.inputs["Vector"])
    spread = tree.nodes.new("ShaderNodeMapRange")
    spread.inputs["From Min"].default_value, spread.inputs["From Max"].default_value = 0.3, 0.7
    tree.links.new(noise.outputs[0], spread.inputs["Value"])
    return _finish(material, tree, _ramp(tree, spread.outputs["Result"], colours, False))

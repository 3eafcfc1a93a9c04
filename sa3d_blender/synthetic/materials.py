"""Random materials: plain, patterned, glossy or metallic, in colours that a scene's palette gives."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from typing import Any

import numpy as np

Colour = tuple[float, float, float]
Palette = Callable[[np.random.Generator], Colour]


def any_colour(rng: np.random.Generator) -> Colour:
    """A colour of any hue, every fifth a grey."""
    saturation = rng.uniform(0.0, 0.12) if rng.random() < 0.22 else rng.uniform(0.25, 1.0)
    return colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(0.03, 0.95))


def narrow_palette(rng: np.random.Generator) -> Palette:
    """Colours near one hue: scenes in which things are hard to tell apart by colour."""
    hue, value = rng.random(), rng.uniform(0.15, 0.8)

    def colour(draw: np.random.Generator) -> Colour:
        return colorsys.hsv_to_rgb(
            (hue + draw.normal(0, 0.03)) % 1.0,
            float(draw.uniform(0.3, 0.9)),
            float(np.clip(value + draw.normal(0, 0.13), 0.04, 0.95)),
        )

    return colour


def random_material(rng: np.random.Generator, palette: Palette, fineness: float = 1.0) -> Any:
    """A new material; ``fineness`` is the number of pattern periods over a length of one."""
    import bpy

    material = bpy.data.materials.new("thing")
    material.use_nodes = True
    tree = material.node_tree
    shader = tree.nodes["Principled BSDF"]
    shader.inputs["Roughness"].default_value = float(rng.uniform(0.15, 0.95))
    if rng.random() < 0.12:
        shader.inputs["Metallic"].default_value = 1.0
    first, second = palette(rng), palette(rng)
    kind = rng.choice(["plain", "shaded", "noise", "wave", "checker", "cells", "bricks"], p=_SHARES)
    if kind == "plain":
        shader.inputs["Base Color"].default_value = (*first, 1.0)
        return material
    if kind == "shaded":
        second = tuple(float(np.clip(c * rng.uniform(0.6, 1.4), 0, 1)) for c in first)  # type: ignore[assignment]
    at = tree.nodes.new("ShaderNodeTexCoord").outputs["Object"]
    factor = _pattern(tree, rng, str(kind), at, fineness)
    ramp = tree.nodes.new("ShaderNodeValToRGB")
    ramp.color_ramp.elements[0].color, ramp.color_ramp.elements[1].color = (*first, 1.0), (*second, 1.0)
    if kind in ("noise", "shaded"):
        ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = 0.35, 0.65
    elif rng.random() < 0.5:
        ramp.color_ramp.interpolation = "CONSTANT"
        ramp.color_ramp.elements[1].position = float(rng.uniform(0.3, 0.7))
    if rng.random() < 0.3:
        ramp.color_ramp.elements.new(float(rng.uniform(0.3, 0.7))).color = (*palette(rng), 1.0)
    tree.links.new(factor, ramp.inputs["Fac"])
    tree.links.new(ramp.outputs["Color"], shader.inputs["Base Color"])
    return material


_SHARES = [0.34, 0.2, 0.16, 0.1, 0.07, 0.08, 0.05]


def _pattern(tree: Any, rng: np.random.Generator, kind: str, at: Any, fineness: float) -> Any:
    scale = fineness * float(np.exp(rng.uniform(np.log(0.8), np.log(9.0))))
    if kind == "wave":
        node = tree.nodes.new("ShaderNodeTexWave")
        node.inputs["Distortion"].default_value = float(rng.uniform(0, 6))
        node.bands_direction = str(rng.choice(["X", "Y", "Z", "DIAGONAL"]))
    elif kind == "checker":
        node = tree.nodes.new("ShaderNodeTexChecker")
    elif kind == "cells":
        node = tree.nodes.new("ShaderNodeTexVoronoi")
    elif kind == "bricks":
        node = tree.nodes.new("ShaderNodeTexBrick")
    else:
        node = tree.nodes.new("ShaderNodeTexNoise")
        node.inputs["Detail"].default_value = float(rng.uniform(0, 6))
    node.inputs["Scale"].default_value = scale
    tree.links.new(at, node.inputs["Vector"])
    return node.outputs["Color"] if kind == "bricks" else node.outputs[1 if kind == "checker" else 0]

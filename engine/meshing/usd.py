"""Meshes as USD: its text form, which needs no library; the binary form through OpenUSD where that is installed.

A file says itself that Z is up and that a unit is a metre, so world coordinates are written as they are. Vertex
colours are ``displayColor``, which USD has in linear light; a texture comes as a preview surface with PNGs beside it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import trimesh

from engine.cache import storage_errors
from engine.meshing.obj import plain_name
from engine.meshing.surface_parts import Welded, check_mesh, linear_colours, texture_of, welded
from engine.whole_folder import written_together
from sa3d_blender.protocol.errors import EnvironmentFault

__all__ = ["BINARY", "check_usd", "usd_text", "write_usd"]

BINARY = ".usdc"


def check_usd(path: Path) -> None:
    """Raises EnvironmentFault where a binary file is asked for and OpenUSD isn't installed."""
    if path.suffix.lower() == BINARY and importlib.util.find_spec("pxr") is None:
        raise EnvironmentFault(
            "Writing .usdc needs OpenUSD's Python package.",
            "Run `pip install usd-core` in the engine's Python, or write .usda or .usd, which need nothing.",
        )


def write_usd(mesh: trimesh.Trimesh, path: Path, name: str = "object") -> Path:
    """Writes a mesh as .usda or .usd (text) or .usdc (binary); with a texture also PNGs beside it, all or none.

    Raises MeshError where there is no mesh, EnvironmentFault where .usdc needs what isn't installed, StorageError
    where the folder can't be written.
    """
    check_usd(path)
    check_mesh(mesh)
    surface, texture, stem = welded(mesh), texture_of(mesh), plain_name(path.stem)
    pictures = {}
    if texture is not None:
        pictures = {"colour": f"{stem}_colour.png"} | ({"normal": f"{stem}_normal.png"} if texture.normal else {})
    text = usd_text(surface, plain_name(name), pictures)
    with storage_errors(path), written_together(path.parent) as part:
        if path.suffix.lower() == BINARY:
            _write_binary(text, part / path.name)
        else:
            (part / path.name).write_text(text, encoding="ascii")
        if texture is not None:
            texture.colour.convert("RGB").save(part / pictures["colour"], format="PNG")
            if texture.normal is not None:
                texture.normal.convert("RGB").save(part / pictures["normal"], format="PNG")
    return path


def _write_binary(text: str, path: Path) -> None:
    from pxr import Sdf, Tf

    layer = Sdf.Layer.CreateAnonymous(".usda")
    layer.ImportFromString(text)
    try:
        layer.Export(str(path))
    except Tf.ErrorException as error:
        raise OSError(str(error)) from error


def usd_text(surface: Welded, name: str, pictures: dict[str, str]) -> str:
    """A stage with one mesh; ``pictures`` are the names of the files "colour" and "normal", if there are any."""
    low, high = surface.points.min(axis=0), surface.points.max(axis=0)
    binding = f"        rel material:binding = </{name}/material>\n" if pictures else ""
    applied = ' (\n        prepend apiSchemas = ["MaterialBindingAPI"]\n    )' if pictures else ""
    return (
        "#usda 1.0\n"
        f'(\n    defaultPrim = "{name}"\n    metersPerUnit = 1\n    upAxis = "Z"\n)\n\n'
        f'def Xform "{name}"\n{{\n'
        f'    def Mesh "mesh"{applied}\n    {{\n'
        f"        float3[] extent = {_tuples(np.stack([low, high]))}\n"
        f"        int[] faceVertexCounts = {_list([3] * len(surface.faces))}\n"
        f"        int[] faceVertexIndices = {_list(surface.faces.reshape(-1).tolist())}\n"
        f"        point3f[] points = {_tuples(surface.points)}\n"
        f'        normal3f[] normals = {_tuples(surface.normals)} (\n            interpolation = "vertex"\n        )\n'
        '        uniform token orientation = "rightHanded"\n'
        # The default is a subdivision surface, which would melt the mesh.
        '        uniform token subdivisionScheme = "none"\n'
        f"{_on_points(surface)}{binding}    }}\n"
        f"{_material(name, pictures) if pictures else ''}}}\n"
    )


def _on_points(surface: Welded) -> str:
    lines = ""
    if surface.colours is not None:
        colours = linear_colours(surface.colours)
        lines += (
            f'        color3f[] primvars:displayColor = {_tuples(colours)} (\n            interpolation = "vertex"\n'
        )
        lines += "        )\n"
    if surface.uv is not None and surface.uv_faces is not None:
        lines += (
            f'        texCoord2f[] primvars:st = {_tuples(surface.uv)} (\n            interpolation = "faceVarying"\n'
        )
        lines += f"        )\n        int[] primvars:st:indices = {_list(surface.uv_faces.reshape(-1).tolist())}\n"
    return lines


def _material(name: str, pictures: dict[str, str]) -> str:
    """A preview surface that shows the pictures: rough, no metal."""
    place = f"/{name}/material"
    inputs = f"            color3f inputs:diffuseColor.connect = <{place}/colour.outputs:rgb>\n"
    if "normal" in pictures:
        inputs += f"            normal3f inputs:normal.connect = <{place}/normal.outputs:rgb>\n"
    found = (
        f'    def Material "material"\n    {{\n'
        f"        token outputs:surface.connect = <{place}/surface.outputs:surface>\n"
        f'        def Shader "surface"\n        {{\n            uniform token info:id = "UsdPreviewSurface"\n{inputs}'
        "            float inputs:roughness = 1\n            float inputs:metallic = 0\n"
        "            token outputs:surface\n        }\n"
        f'        def Shader "st"\n        {{\n            uniform token info:id = "UsdPrimvarReader_float2"\n'
        '            string inputs:varname = "st"\n            float2 outputs:result\n        }\n'
    )
    found += _picture(place, "colour", pictures["colour"], "sRGB", "")
    if "normal" in pictures:
        # A normal map's 0 to 1 stands for -1 to 1.
        unpacked = "            float4 inputs:scale = (2, 2, 2, 1)\n            float4 inputs:bias = (-1, -1, -1, 0)\n"
        found += _picture(place, "normal", pictures["normal"], "raw", unpacked)
    return found + "    }\n"


def _picture(place: str, kind: str, file: str, space: str, more: str) -> str:
    return (
        f'        def Shader "{kind}"\n        {{\n            uniform token info:id = "UsdUVTexture"\n'
        f"            asset inputs:file = @./{file}@\n"
        f'            token inputs:sourceColorSpace = "{space}"\n{more}'
        f"            float2 inputs:st.connect = <{place}/st.outputs:result>\n"
        "            float3 outputs:rgb\n        }\n"
    )


def _list(values: Sequence[int]) -> str:
    return f"[{', '.join(map(str, values))}]"


def _tuples(rows: np.ndarray) -> str:
    form = f"({', '.join(['%.9g'] * rows.shape[1])})"
    return f"[{', '.join(form % tuple(row) for row in rows.tolist())}]"

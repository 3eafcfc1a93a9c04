"""A box with a texture whose sides meet at seams: 24 vertices on 8 points, a colour of its own on each side."""

from __future__ import annotations

import numpy as np
import trimesh
from PIL import Image

__all__ = ["SIDES", "textured_box"]

SIDES = np.array(
    [[200, 30, 30], [30, 200, 30], [30, 30, 200], [200, 200, 30], [30, 200, 200], [200, 30, 200]], dtype=np.uint8
)
"""sRGB colours of the sides -x, +x, -y, +y, -z, +z, in the order of the texture's columns, left to right."""

LOW, HIGH = np.array([1.0, -2.0, 0.5]), np.array([1.5, -1.0, 2.0])
CELL_PX = 8


def textured_box() -> trimesh.Trimesh:
    """The box from (1, -2, 0.5) to (1.5, -1, 2), outward oriented. A normal map that is flat comes along."""
    vertices, faces, uv = [], [], []
    for side in range(6):
        axis, end = divmod(side, 2)
        across, along = ((1, 2), (2, 0), (0, 1))[axis]
        corners = np.tile(LOW, (4, 1))
        corners[:, axis] = (LOW, HIGH)[end][axis]
        corners[[1, 2], across] = HIGH[across]
        corners[[2, 3], along] = HIGH[along]
        quad = [[0, 1, 2], [0, 2, 3]] if end else [[0, 2, 1], [0, 3, 2]]
        faces += (np.array(quad) + 4 * side).tolist()
        vertices += corners.tolist()
        inset = 0.1  # of a column, so that no corner looks up its neighbour's colour
        left, right = (side + inset) / 6, (side + 1 - inset) / 6
        uv += [[left, 0.1], [right, 0.1], [right, 0.9], [left, 0.9]]
    picture = np.repeat(np.repeat(SIDES[None], CELL_PX, axis=0), CELL_PX, axis=1)
    flat = Image.new("RGB", (CELL_PX * 6, CELL_PX), (128, 128, 255))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(picture), normalTexture=flat)
    mesh = trimesh.Trimesh(np.array(vertices), np.array(faces), process=False)
    mesh.visual = trimesh.visual.TextureVisuals(uv=np.array(uv), material=material)
    return mesh

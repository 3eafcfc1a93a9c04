"""The true surfaces of the demo's objects, as triangles in world units."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np


def true_surface(item: Any) -> tuple[np.ndarray, np.ndarray]:
    """Vertices float64 [V, 3] in the world and triangles int32 [F, 3] of an object with its modifiers."""
    import bpy

    evaluated = item.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    try:
        mesh.calc_loop_triangles()
        vertices = np.empty(len(mesh.vertices) * 3, dtype=np.float32)
        mesh.vertices.foreach_get("co", vertices)
        triangles = np.empty(len(mesh.loop_triangles) * 3, dtype=np.int32)
        mesh.loop_triangles.foreach_get("vertices", triangles)
    finally:
        evaluated.to_mesh_clear()
    matrix = np.array(evaluated.matrix_world, dtype=np.float64)
    return vertices.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3], triangles.reshape(-1, 3)


def is_watertight(triangles: np.ndarray) -> bool:
    """Whether each directed edge of triangles [F, 3] occurs once and its opposite once too."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    there = {(int(a), int(b)) for a, b in edges}
    return len(there) == len(edges) and all((b, a) in there for a, b in there)


def write_ply(path: Path, vertices: np.ndarray, triangles: np.ndarray) -> None:
    """Binary little-endian PLY with vertices [V, 3] as float32 and triangles [F, 3]."""
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(triangles), dtype=[("count", "u1"), ("vertices", "<i4", (3,))])
    faces["count"], faces["vertices"] = 3, triangles
    part = path.with_name(path.name + ".part")
    part.write_bytes(header.encode("ascii") + np.asarray(vertices, dtype="<f4").tobytes() + faces.tobytes())
    os.replace(part, path)

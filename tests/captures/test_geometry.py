"""Cameras, masks and meshes of the shared tabletop agree: true surfaces fall on the true pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.ndimage import binary_dilation

from engine.captures.load import load_capture
from engine.captures.rays import project

OBJECTS = ("apple", "banana", "pear", "rubiks_cube", "skillet_lid", "toy_airplane")


def masks_of(folder: Path, stem: str) -> np.ndarray:
    return np.asarray(Image.open(folder / "masks" / f"{stem}.png"))


def surface_points(folder: Path, name: str) -> np.ndarray:
    """The mesh's vertices and as many points spread evenly over its faces, [N, 3]."""
    mesh = trimesh.load(folder / "meshes" / f"{name}.ply")
    return np.concatenate([mesh.vertices[::2], trimesh.sample.sample_surface(mesh, 4000, seed=0)[0]])


@pytest.mark.parametrize("name", OBJECTS)
def test_vertices_of_true_meshes_fall_on_their_masks(captures_dir: Path, name: str):
    folder = captures_dir / "tabletop"
    index = json.loads((folder / "objects.json").read_text())[name]
    points = surface_points(folder, name)
    capture = load_capture(folder)
    on_some_object, on_it, away = [], 0, []
    for view in capture.views[::6]:
        instances = masks_of(folder, view.stem)
        points_px, depth = project(view.camera, points)
        assert (depth > 0).all()
        x, y = np.floor(points_px).astype(int).T
        seen = (x >= 0) & (x < view.camera.width) & (y >= 0) & (y < view.camera.height)
        if not seen.any():
            continue
        # An object in front may hide a vertex, but then some object's mask is there; a pixel is forgiven, since
        # the outline goes through the middle of pixels.
        some = binary_dilation(instances > 0, iterations=1)
        on_some_object.append(some[y[seen], x[seen]].mean())
        mine = instances == index
        on_it += int(mine.sum() > 0 and binary_dilation(mine, iterations=1)[y[seen], x[seen]].mean() > 0.5)
        covered = np.zeros_like(mine)
        covered[y[seen], x[seen]] = True
        away.append((mine & ~binary_dilation(covered, iterations=4)).sum() / max(1, mine.sum()))
    assert min(on_some_object) > 0.99
    assert on_it >= 0.6 * len(on_some_object)  # in the other views something stands in front of it
    assert max(away) < 0.02  # and the mask has nothing where the mesh isn't


def test_a_camera_that_is_slightly_wrong_would_be_noticed(captures_dir: Path):
    folder = captures_dir / "tabletop"
    points = surface_points(folder, "pear")
    view = load_capture(folder).views[0]
    some = binary_dilation(masks_of(folder, view.stem) > 0, iterations=1)
    right = np.floor(project(view.camera, points)[0]).astype(int)
    off = right + np.array([6, 0])
    assert some[right[:, 1], right[:, 0]].mean() > 0.99 > 0.97 > some[off[:, 1], off[:, 0]].mean()

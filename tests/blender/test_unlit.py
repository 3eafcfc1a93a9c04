"""A mesh rendered for comparison with photos: its own colours come through, where a pinhole camera sees them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from engine.captures.capture import Camera, View
from engine.evaluation.mesh_render import read_render, render_surface
from engine.progress import Job, Report
from sa3d_blender.unlit import linear_from_srgb

ROOT = Path(__file__).resolve().parents[2]
needs_bpy = pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs Blender's Python module")
# Far from the origin, where single precision is coarse.
PLACE = np.array([1000.0, -2000.0, 500.0])
COLOUR = (200, 30, 90)
QUADRANTS = {
    "top left": (250, 10, 20),
    "top right": (10, 240, 30),
    "bottom left": (20, 30, 230),
    "bottom right": (90, 90, 9),
}


def card() -> trimesh.Trimesh:
    """Two triangles at PLACE, 2 x 1.2 units, facing up."""
    corners = np.array([[-1.0, -0.6, 0.0], [1.0, -0.6, 0.0], [1.0, 0.6, 0.0], [-1.0, 0.6, 0.0]]) + PLACE
    return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False)


def views() -> dict[str, View]:
    """Three units above the card, principal point off the middle, pixels not square; and from a step to the right."""
    found = {}
    for stem, x in (("a", 0.0), ("b", 0.15)):
        pose = np.eye(4)
        pose[:3, 3] = PLACE + np.array([x, 0.0, 3.0])
        camera = Camera(60, 40, 60.0, 50.0, 25.0, 22.0, pose)
        found[stem] = View(f"{stem}.png", stem, Path(f"{stem}.png"), camera)
    return found


def painted() -> trimesh.Trimesh:
    mesh = card()
    mesh.visual.vertex_colors = np.tile(np.array([[*COLOUR, 255]], np.uint8), (4, 1))
    return mesh


def papered() -> trimesh.Trimesh:
    """With a texture of four quadrants over the whole card."""
    image = Image.new("RGB", (80, 48))
    for number, colour in enumerate(QUADRANTS.values()):
        left, top = 40 * (number % 2), 24 * (number // 2)
        image.paste(colour, (left, top, left + 40, top + 24))
    mesh = card()
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=image)
    mesh.visual = trimesh.visual.TextureVisuals(uv=[[0, 0], [1, 0], [1, 1], [0, 1]], material=material)
    return mesh


@needs_bpy
def test_vertex_colours_come_through_where_a_pinhole_sees_them(tmp_path):
    reports: list[Report] = []
    found = render_surface(painted(), views(), tmp_path, Job(reports.append))
    assert list(found) == ["a", "b"]
    # 60 * 1 / 3 = 20 columns to either side of 25, 50 * 0.6 / 3 = 10 rows to either side of 22
    rgb, coverage = read_render(found["a"])
    expected = np.zeros((40, 60))
    expected[12:32, 5:45] = 1.0
    np.testing.assert_allclose(coverage, expected, atol=0.13)  # 2 of 16 rays: an edge between two pixels has no side
    np.testing.assert_allclose(rgb[13:31, 6:44] * 255, np.broadcast_to(COLOUR, (18, 38, 3)), atol=1.01)
    # a step to the right moves the card 60 * 0.15 / 3 = 3 columns to the left
    assert (read_render(found["b"])[1][20] > 0.5).nonzero()[0].tolist() == list(range(2, 42))
    assert [report.done for report in reports if report.total == 2.0][-1] == 2.0


@needs_bpy
def test_a_texture_comes_through_the_right_way_up(tmp_path):
    rgb, coverage = read_render(render_surface(papered(), views(), tmp_path, Job())["a"])
    assert coverage[12:32, 5:45].min() > 0.85
    middles = {"top left": (17, 15), "top right": (17, 35), "bottom left": (27, 15), "bottom right": (27, 35)}
    for name, (row, column) in middles.items():
        patch = rgb[row - 2 : row + 3, column - 6 : column + 7] * 255
        np.testing.assert_allclose(patch, np.broadcast_to(QUADRANTS[name], patch.shape), atol=1.01)


@needs_bpy
def test_it_is_not_lit_from_behind_either(tmp_path):
    turned = painted()
    turned.invert()
    rgb, _ = read_render(render_surface(turned, views(), tmp_path, Job())["a"])
    np.testing.assert_allclose(rgb[22, 25] * 255, COLOUR, atol=1.01)


@needs_bpy
def test_what_can_not_be_read_is_one_sentence(tmp_path):
    (tmp_path / "surface.npz").write_bytes(b"PK\x03\x04 and no more")
    words = ["--surface", str(tmp_path / "surface.npz"), "--scene", "scene.json", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "sa3d_blender.unlit", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    assert "surface.npz can't be read" in done.stderr
    assert "Traceback" not in done.stderr
    missing = subprocess.run(command[:-4], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert missing.returncode == 2


def test_srgb_becomes_linear_light_as_the_standard_has_it():
    values = linear_from_srgb(np.array([[0, 10, 255, 128], [188, 55, 1, 0]], np.uint8))
    # IEC 61966-2-1: below 0.04045 a straight line; 188 is the grey of half the light
    expected = [[0.0, 10 / 255 / 12.92, 1.0, 128 / 255], [0.5, 0.0382, 1 / 255 / 12.92, 0.0]]
    np.testing.assert_allclose(values, expected, atol=3e-3)

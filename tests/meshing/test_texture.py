"""A texture baked from photos shows the true paint, wherever any photo saw it, and something plausible elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from engine.meshing.bake import bake, witnesses
from engine.meshing.srgb import from_linear, to_linear
from engine.meshing.texels import rasterised
from engine.meshing.texture import TEXTURES, TextureSettings, textured
from engine.meshing.unwrap import welded
from engine.progress import Job
from sa3d_blender.protocol.errors import Cancelled, MeshError
from tests.helpers.photographed import AROUND, SIX, ball, cube, looked_up, photo_of_ball, photo_of_cube, smooth_paint

SMALL = TextureSettings(256)


def baked(mesh, photos, settings=SMALL, dense=None):
    return textured(mesh, dense, photos, settings, Job())


def errors(made: trimesh.Trimesh) -> np.ndarray:
    points, colours, _ = looked_up(made)
    return np.abs(colours - smooth_paint(points)).max(axis=1)


@pytest.fixture(scope="module")
def painted_ball() -> trimesh.Trimesh:
    return baked(ball(), [photo_of_ball(p) for p in AROUND])


def test_a_ball_photographed_from_all_sides_has_its_paint_on_its_texture(painted_ball):
    # A pixel is 0.02 of the radius, and the paint changes by 0.35 a radius in each channel.
    assert errors(painted_ball).mean() < 0.01
    assert errors(painted_ball).max() < 0.05
    assert (painted_ball.vertex_attributes["observed"] == 1.0).all()


def test_so_has_a_cube_up_to_its_edges():
    made = baked(cube(), [photo_of_cube(p) for p in AROUND])
    assert errors(made).mean() < 0.01
    assert np.percentile(errors(made), 99.5) < 0.05


def test_it_is_the_same_surface_with_a_rough_material(painted_ball):
    material = painted_ball.visual.material
    assert material.baseColorTexture.size == (256, 256) and material.baseColorTexture.mode == "RGB"
    assert (material.roughnessFactor, material.metallicFactor) == (1.0, 0.0) and material.normalTexture is None
    whole = welded(painted_ball)
    assert whole.is_watertight and len(whole.faces) == len(ball().faces)
    # Normals agree at the seams: they are those of the ball, though its vertices are split.
    assert np.einsum("vi,vi->v", painted_ball.vertex_normals, painted_ball.vertices).min() > 0.999


def test_no_texel_is_left_black_also_between_the_charts(painted_ball):
    assert np.asarray(painted_ball.visual.material.baseColorTexture).min() > 0.1 * 255  # the paint is 0.15 at least


def test_one_photo_of_half_the_exposure_changes_nothing():
    photos = [photo_of_ball(p) for p in AROUND]
    dark = from_linear(0.5 * to_linear(photos[0].rgb)).astype(np.float32)
    photos[0] = replace(photos[0], rgb=dark)
    made = baked(ball(), photos)
    points, colours, _ = looked_up(made)
    front = points[:, 0] > 0.9  # where the dark photo sees best
    off = colours[front] - smooth_paint(points[front])
    assert np.abs(off.mean(axis=0)).max() < 0.01
    assert np.abs(dark[80, 80] - smooth_paint(points[front]).mean(axis=0)).max() > 0.15  # it was really dark there
    assert errors(made).mean() < 0.015


def test_there_is_no_switch_between_photos_that_disagree():
    shades = [0.0, 0.06, -0.06, 0.03, -0.03, 0.05]

    def toned(shade):
        # Two channels each way: no gain of a photo can mend what differs from place to place.
        return lambda points: np.clip(smooth_paint(points) + shade * np.sin(3.0 * points[..., [1, 2, 0]]), 0, 1)

    photos = [photo_of_ball(p, toned(s)) for p, s in zip(SIX, shades, strict=True)]
    made = baked(ball(), photos)
    image = np.asarray(made.visual.material.baseColorTexture).astype(int)
    texels = rasterised(np.asarray(made.visual.uv), np.asarray(made.faces), 256)
    inside = texels.face_image >= 0
    steps = np.abs(np.diff(image, axis=1)).max(axis=2)[inside[:, 1:] & inside[:, :-1]]
    # A texel is 0.018 of the radius, so the paints change by 0.01 = 2.5 steps of 255; a switch would be up to 30.
    assert np.percentile(steps, 99.9) <= 10


def test_one_photo_with_a_highlight_is_outvoted():
    white = photo_of_ball((4.0, 0.0, 0.2), lambda points: np.ones_like(points))
    plain = [photo_of_ball(p) for p in [(3.9, 0.6, 0.2), (3.9, -0.6, 0.2), (3.9, 0.2, 0.8), (3.9, 0.2, -0.6)]]
    made = baked(ball(), [white, *plain])
    points, colours, _ = looked_up(made)
    front = points[:, 0] > 0.9
    off = (colours[front] - smooth_paint(points[front])).max(axis=1)
    assert off.max() < 0.04 and off.mean() < 0.02
    assert ((1.0 - smooth_paint(points[front])) / 5.0).max(axis=1).mean() > 0.1  # what an even mean would be off


def test_what_no_photo_sees_is_told_and_filled_without_a_seam():
    made = baked(ball(), [photo_of_ball(p) for p in AROUND if p[0] > 1])
    observed = made.vertex_attributes["observed"]
    assert observed.dtype == np.float32 and set(np.unique(observed)) == {0.0, 1.0}
    x = np.asarray(made.vertices)[:, 0]
    assert observed[x < -0.9].max() == 0.0 and observed[x > 0.0].min() == 1.0
    points, colours, _ = looked_up(made)
    back = points[:, 0] < -0.9
    # Red grows along x and is 0.15 to 0.4 there in truth; the nearest that is seen is less than 0.5 and not black.
    assert colours[back, 0].min() > 0.15 and colours[back, 0].max() < 0.5
    # Left and right of the unseen part differ in green, as what is seen around it does.
    left, right = (colours[(points[:, 0] < -0.6) & (sign * points[:, 1] > 0.5), 1].mean() for sign in (-1.0, 1.0))
    assert left < 0.42 and right > 0.58
    # All copies of an unseen vertex have one colour, whatever chart they lie in.
    places, number = np.unique(np.asarray(made.vertices), axis=0, return_inverse=True)
    uv = np.asarray(made.visual.uv)
    image = np.asarray(made.visual.material.baseColorTexture) / 255.0
    row, column = np.clip(((1.0 - uv[:, 1]) * 256).astype(int), 0, 255), np.clip((uv[:, 0] * 256).astype(int), 0, 255)
    here = image[row, column]
    hidden = observed == 0.0
    for channel in range(3):
        low, high = np.full(len(places), 9.0), np.full(len(places), -9.0)
        np.minimum.at(low, number.reshape(-1)[hidden], here[hidden, channel])
        np.maximum.at(high, number.reshape(-1)[hidden], here[hidden, channel])
        assert (high - low)[high > -9.0].max() < 0.05  # a texel or two of a slope of 0.35 a radius


def test_what_stands_before_the_object_does_not_colour_it():
    photo = photo_of_ball((4.0, 0.0, 0.0))
    rgb, depth = photo.rgb.copy(), photo.depth.copy()
    rgb[:, 80:], depth[:, 80:] = (1.0, 0.0, 1.0), 2.0  # a magenta board halfway, over the ball's +y half
    made = baked(ball(), [replace(photo, rgb=rgb, depth=depth, mask=None)])
    _, colours, _ = looked_up(made)
    assert not ((colours[:, 0] > 0.9) & (colours[:, 1] < 0.1)).any()
    assert made.vertex_attributes["observed"][np.asarray(made.vertices)[:, 1] > 0.1].max() == 0.0


def test_one_part_of_an_object_does_not_print_on_another_behind_it():
    """The field's depth is too coarse to tell a thin plate close before a ball; the mesh's own depth is not."""
    plate = trimesh.creation.box((0.02, 0.4, 0.4)).apply_translation((1.04, 0.0, 0.0)).subdivide().subdivide()
    both = trimesh.util.concatenate([ball(), plate])
    photo = photo_of_ball((4.0, 0.0, 0.0))
    y, z = (np.arange(160) + 0.5 - 80.0)[None, :] / 200.0 * 2.95, -(np.arange(160) + 0.5 - 80.0)[:, None] / 200.0 * 2.95
    covered = (np.abs(y) < 0.2) & (np.abs(z) < 0.2)
    rgb = np.where(covered[..., None], (1.0, 0.0, 1.0), photo.rgb).astype(np.float32)
    made = baked(both, [replace(photo, rgb=rgb, depth=np.where(covered, photo.depth - 0.05, photo.depth))])
    points, colours, _ = looked_up(made)
    behind = (
        (np.linalg.norm(points, axis=1) < 1.005) & (points[:, 0] > 0.9) & (np.abs(points[:, 1:]) < 0.15).all(axis=1)
    )
    plated = (points[:, 0] > 1.045) & (np.abs(points[:, 1:]) < 0.15).all(axis=1)
    assert colours[plated].mean(axis=0) == pytest.approx([1.0, 0.0, 1.0], abs=0.02)
    assert (colours[behind, 1] > 0.3).all()


def test_a_sharp_photo_outweighs_a_blurred_one():
    from scipy import ndimage

    def checked(points):
        return 0.5 + 0.3 * np.sign(np.sin(12.0 * points[..., 1:2]) * np.sin(12.0 * points[..., 2:])) * np.ones(3)

    sharp = photo_of_ball((4.0, 0.2, 0.0), checked)
    dull = photo_of_ball((4.0, -0.2, 0.0), checked)
    dull = replace(dull, rgb=ndimage.gaussian_filter(dull.rgb, (2.0, 2.0, 0.0)))
    mesh, stage = ball(), Job().stage("", 9)
    with stage:
        seen_by = witnesses([sharp, dull], mesh.vertices, mesh.vertex_normals, mesh.faces, stage)
        front = np.flatnonzero(mesh.vertices[:, 0] > 0.8)
        found = bake(mesh.vertices[front], mesh.vertex_normals[front], seen_by)
        alone = bake(mesh.vertices[front], mesh.vertex_normals[front], seen_by[:1])
    assert seen_by[0].emphasis > 2.0 * seen_by[1].emphasis
    assert np.abs(found.colours - alone.colours).mean() < 0.05  # an even mean would be 0.15 off along every line


def test_the_texture_shows_more_than_the_vertices_could():
    def striped(points):
        return 0.5 + 0.35 * np.sin(25.0 * points[..., 2:]) * np.ones(3)

    made = baked(ball(2), [photo_of_ball(p, striped, 480) for p in AROUND], TextureSettings(512))
    points, colours, _ = looked_up(made)
    # 320 triangles: the ball's own sagitta is 0.013, a tenth of a stripe.
    on_ball = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert np.abs(colours - striped(on_ball)).mean() < 0.06


def test_without_photos_all_is_grey_and_unobserved():
    made = baked(ball(2), [])
    assert set(np.unique(np.asarray(made.visual.material.baseColorTexture))) <= {127, 128}
    assert not made.vertex_attributes["observed"].any()


def test_stages_are_reported_and_can_be_cancelled():
    told = []
    job = Job(listener=told.append)
    textured(ball(2), None, [photo_of_ball(SIX[0])], SMALL, job)
    assert list(job.timings) == ["Unwrapping", "Baking the texture"]
    assert told[-1].done == told[-1].total and max(report.done / report.total for report in told) == 1.0
    job.cancel.set()
    with pytest.raises(Cancelled):
        textured(ball(2), None, [photo_of_ball(SIX[0])], SMALL, job)


def test_what_makes_no_sense_is_an_error():
    photo = photo_of_ball((4.0, 0.0, 0.0))
    with pytest.raises(MeshError, match="another size"):
        baked(ball(2), [replace(photo, depth=photo.depth[:-1])])
    with pytest.raises(MeshError, match="texels a side"):
        baked(ball(2), [photo], TextureSettings(100_000))


def test_every_quality_has_a_texture_and_a_drafts_is_small_and_without_relief():
    assert TEXTURES["draft"].size_px < TEXTURES["good"].size_px <= TEXTURES["best"].size_px
    assert not TEXTURES["draft"].normal_map
    assert TEXTURES["good"].normal_map and TEXTURES["best"].normal_map

"""The region of interest of a capture: the box in which a field keeps its detail."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from engine.captures.capture import Capture
from engine.captures.point_box import Layout, box_of_points
from sa3d_blender.protocol.errors import CaptureError

FORWARD_ANGLE = 35.0  # degrees: viewing directions all within this of their mean look at a front, not around something
INWARD_SHARE = 0.5  # of the usual camera's distance: what photos are taken of fills about the middle half of the way
CLOSE_SHARE = 0.8  # of the nearest cameras' distance: the box ends before it reaches them
SEEN_SHARE = 1.7  # of half of what a photo spans at that point: a long lens sees nothing of a larger box
LOST_FACTOR = 10.0  # a camera this many times as far from their middle as usual has an absurd pose
REWEIGHTED = 8  # times, towards the point that most axes pass by closely
SYNTHETIC_SIDE = 1.5  # half side of nerf_synthetic's scenes, whose objects are known to lie within +-1.5 units


@dataclass(frozen=True)
class SceneBox:
    """A box in the capture's world, ``aabb`` float64 [2, 3], and what kind of capture it belongs to.

    ``object``: nothing exists outside the box (photos with alpha). ``inward``: cameras look at it from around.
    ``forward``: cameras look at it from the front. ``of_points``: sparse points made it, not the cameras alone.
    """

    aabb: np.ndarray
    kind: Literal["object", "inward", "forward"]
    of_points: bool = False


def attention_point(positions: np.ndarray, forwards: np.ndarray) -> np.ndarray:
    """The point nearest to all optical axes, [3], whatever a few of them do.

    Minimises ``sum |(I - d d^T)(x - p)|`` over the cameras' positions p and unit directions d [N, 3], by least squares
    reweighted with the inverse distances; distances below the median weigh alike.

    Raises:
        CaptureError: the axes are (nearly) parallel, so that there is no such point.
    """
    projectors = np.eye(3) - forwards[:, :, None] * forwards[:, None, :]
    system = projectors.sum(0)
    if np.linalg.cond(system) > 1e6:
        raise CaptureError("All cameras look the same way.", "Take photos from different sides.")
    seen = (projectors @ positions[..., None])[..., 0]  # [N, 3], each axis's point nearest to the origin
    point = np.linalg.solve(system, seen.sum(0))
    for _ in range(REWEIGHTED):
        away = np.linalg.norm((projectors @ (point - positions)[..., None])[..., 0], axis=1)
        usual = float(np.median(away))
        if usual < 1e-9 * max(1.0, float(np.abs(positions).max())):
            break  # most pass through it
        weights = (1 / np.maximum(away, usual))[:, None]
        point = np.linalg.solve((projectors * weights[..., None]).sum(0), (seen * weights).sum(0))
    return point


def steady(positions: np.ndarray) -> np.ndarray:
    """Bool [N]: which cameras stand among the others, at positions [N, 3], rather than absurdly far away."""
    away = np.linalg.norm(positions - np.median(positions, axis=0), axis=1)
    usual = float(np.median(away))
    return away <= LOST_FACTOR * usual if usual > 0 else np.ones(len(positions), bool)


def scene_box(capture: Capture) -> SceneBox:
    """The region of interest from the cameras, and from the sparse points where the capture has enough of them.

    From the cameras:

    * Photos with alpha of ``nerf_synthetic``: the known cube.
    * Viewing directions within ``FORWARD_ANGLE`` of their mean: the box around what the cameras see between the
    near and far
      distances, cut at three times the near distance where far is much farther (the rest is left to the contraction).
    * Else: a cube around the point all cameras look at, which ends before the nearest tenth of the cameras, and not
      far beyond what the photos show around that point.
    * Where that point lies behind most cameras, they look outward from a room's middle: the box around the cameras,
      grown on every side by its longest side.

    What photos with alpha show is left at that: nothing exists outside of its box. Any other box is fitted to the
    points, see `box_of_points`.

    Raises:
        CaptureError: there are no views, or all look the same way from one line.
    """
    if not capture.views:
        raise CaptureError("The capture has no views.", "Check the paths of its photos.")
    among = steady(np.array([v.camera.position for v in capture.views]))
    capture = replace(capture, views=tuple(v for v, kept in zip(capture.views, among, strict=True) if kept))
    positions = np.array([v.camera.position for v in capture.views])
    forwards = np.array([v.camera.forward for v in capture.views])
    mean = forwards.mean(0)
    length = float(np.linalg.norm(mean))
    angles = np.degrees(np.arccos(np.clip(forwards @ mean / max(length, 1e-9), -1, 1)))
    if capture.has_alpha and capture.format == "nerf_synthetic":
        return SceneBox(np.array([[-SYNTHETIC_SIDE] * 3, [SYNTHETIC_SIDE] * 3]), "object")
    if length > 0.5 and float(np.percentile(angles, 97)) < FORWARD_ANGLE:
        box = _forward_box(capture, positions, kind="object" if capture.has_alpha else "forward")
        return _fitted(box, capture, "front", positions, forwards)
    centre = attention_point(positions, forwards)
    if np.mean(((centre - positions) * forwards).sum(1) > 0) < 0.5:
        low, high = positions.min(0), positions.max(0)
        margin = float((high - low).max())
        box = SceneBox(np.stack([low - margin, high + margin]), "object" if capture.has_alpha else "inward")
        return _fitted(box, capture, "outward", positions, forwards)
    distance = np.linalg.norm(positions - centre, axis=1)
    spans = [max(v.camera.width / v.camera.fl_x, v.camera.height / v.camera.fl_y) / 2 for v in capture.views]
    half = min(
        INWARD_SHARE * float(np.median(distance)),
        CLOSE_SHARE * float(np.percentile(distance, 10)),
        SEEN_SHARE * float(np.median(np.array(spans) * distance)),
    )
    if not np.isfinite(half) or half <= 0:
        raise CaptureError("The cameras all stand where they look at.", "Check the capture's poses.")
    box = SceneBox(np.stack([centre - half, centre + half]), "object" if capture.has_alpha else "inward")
    return _fitted(box, capture, "around", positions, forwards)


def _fitted(box: SceneBox, capture: Capture, layout: Layout, positions: np.ndarray, forwards: np.ndarray) -> SceneBox:
    """The box fitted to the capture's points, or as it is."""
    if capture.points is None or box.kind == "object":
        return box
    aabb = box_of_points(capture.points, box.aabb, layout, positions, forwards)
    return box if aabb is None else SceneBox(aabb, box.kind, True)


def _forward_box(capture: Capture, positions: np.ndarray, kind: Literal["object", "forward"]) -> SceneBox:
    """Around the frusta between near and far; without those, between one half and two times the cameras' distance."""
    corners = []
    bounds = [v.near_far for v in capture.views if v.near_far is not None]
    if bounds:
        near, far = float(np.median([b[0] for b in bounds])), float(np.median([b[1] for b in bounds]))
    else:
        forwards = np.array([v.camera.forward for v in capture.views])
        try:
            depth = float(np.linalg.norm(attention_point(positions, forwards) - positions.mean(0)))
        except CaptureError:
            depth = 10 * float(np.linalg.norm(positions - positions.mean(0), axis=1).mean())
        near, far = depth / 2, depth * 2
    far = min(far, 3 * near)
    for view in capture.views:
        c = view.camera
        for depth in (near, far):
            for x, y in ((0, 0), (c.width, 0), (0, c.height), (c.width, c.height)):
                local = np.array([(x - c.cx) / c.fl_x * depth, -(y - c.cy) / c.fl_y * depth, -depth])
                corners.append(c.world_from_camera[:3, :3] @ local + c.position)
    found = np.array(corners)
    # Single cameras that look aside should not stretch the box: the outer twentieth of the corners doesn't count.
    return SceneBox(np.stack([np.percentile(found, 5, axis=0), np.percentile(found, 95, axis=0)]), kind)

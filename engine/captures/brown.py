"""Brown's lens as photogrammetry programs write it: four radial and two tangential terms, affinity and skew.

Source: Agisoft, "Metashape User Manual", appendix on camera models (frame and fisheye cameras); q1 and q2 are P3 and P4
of "PhotoScan User Manual" 1.2 to 1.4. With x, y on the plane at unit depth (x right, y down) and r their length
(fisheyes first shrink it to the angle),

    x' = x (1 + k1 r^2 + k2 r^4 + k3 r^6 + k4 r^8) + (2 p1 x y + p2 (r^2 + 2 x^2)) (1 + q1 r^2 + q2 r^4)
    y' = y (1 + k1 r^2 + k2 r^4 + k3 r^6 + k4 r^8) + (2 p2 x y + p1 (r^2 + 2 y^2)) (1 + q1 r^2 + q2 r^4)
    u  = cx + (f + b1) x' + b2 y'          v = cy + f y'

where p1 and p2 are OpenCV's (Metashape's P1 and P2 are the other way round, and so are RealityCapture's t1 and t2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from engine.captures.capture import Camera
from engine.captures.images import MAX_PIXELS
from engine.captures.lens_fit import GRID, Fit, nearest_lens
from engine.captures.validate import BadView

__all__ = ["BrownLens", "brown_camera", "brown_pixels"]


@dataclass(frozen=True)
class BrownLens:
    """The numbers of such a lens; focal length and centre in pixels, from the photo's corner."""

    width: int
    height: int
    f: float
    cx: float
    cy: float
    k: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    p: tuple[float, float] = (0.0, 0.0)
    b: tuple[float, float] = (0.0, 0.0)
    kind: Literal["frame", "fisheye", "equisolid"] = "frame"
    q: tuple[float, float] = (0.0, 0.0)


def brown_camera(lens: BrownLens) -> Fit:
    """The lens as a camera at the world's origin: itself where OpenCV's models can say it, else the nearest of them.

    Raises BadView where it makes no sense or resembles none of them.
    """
    if min(lens.width, lens.height) < 1 or lens.width * lens.height > MAX_PIXELS:
        raise BadView(f"its camera is for a photo of {lens.width} x {lens.height} pixels")
    values = np.array([lens.f, lens.cx, lens.cy, *lens.k, *lens.p, *lens.b, *lens.q])
    if not np.isfinite(values).all():
        raise BadView("its lens holds values that are not finite")
    fl_x = lens.f + lens.b[0]
    if min(lens.f, fl_x) <= 0:
        raise BadView(f"its focal length is {min(lens.f, fl_x):g}")
    camera = Camera(lens.width, lens.height, fl_x, lens.f, lens.cx, lens.cy, np.eye(4))
    (k1, k2, k3, k4), (p1, p2) = lens.k, lens.p
    if lens.kind == "frame" and not (k4 or lens.b[1] or ((p1 or p2) and any(lens.q))):
        extra = (k1, k2, p1, p2, k3)
        return Fit(replace(camera, model="opencv", distortion=extra) if any(extra) else camera)
    if lens.kind == "fisheye" and not (p1 or p2 or lens.b[1]):
        return Fit(replace(camera, model="fisheye", distortion=lens.k))
    try:
        plane = _rays(lens)
        return nearest_lens(camera, plane, brown_pixels(lens, plane), turns=bool(lens.b[1]))
    except BadView as reason:
        raise BadView(f"its lens {reason}") from reason


def brown_pixels(lens: BrownLens, plane: np.ndarray) -> np.ndarray:
    """Where the lens maps points [N, 2] of the plane at unit depth: pixels [N, 2]."""
    radius = np.linalg.norm(plane, axis=1)
    flat = plane * np.where(radius > 1e-12, _shrunk(lens, radius) / np.where(radius > 1e-12, radius, 1.0), 1.0)[:, None]
    x, y = flat[:, 0], flat[:, 1]
    r2 = x * x + y * y
    radial, (p1, p2), (q1, q2) = _radial(lens, r2), lens.p, lens.q
    more = 1 + r2 * (q1 + r2 * q2)
    bent_x = x * radial + (2 * p1 * x * y + p2 * (r2 + 2 * x * x)) * more
    bent_y = y * radial + (2 * p2 * x * y + p1 * (r2 + 2 * y * y)) * more
    u = lens.cx + (lens.f + lens.b[0]) * bent_x + lens.b[1] * bent_y
    return np.stack([u, lens.cy + lens.f * bent_y], axis=1)


def _radial(lens: BrownLens, r2: np.ndarray) -> np.ndarray:
    k1, k2, k3, k4 = lens.k
    return 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))


def _shrunk(lens: BrownLens, radius: np.ndarray) -> np.ndarray:
    if lens.kind == "frame":
        return radius
    theta = np.arctan(radius)
    return theta if lens.kind == "fisheye" else 2 * np.sin(theta / 2)


def _rays(lens: BrownLens) -> np.ndarray:
    """Points [N, 2] of the plane whose pixels, tangential terms aside, lie on a grid over the photo."""
    x, y = np.meshgrid(np.linspace(0, lens.width, GRID), np.linspace(0, lens.height, GRID))
    target = np.stack([x.ravel() - lens.cx, y.ravel() - lens.cy], axis=1) / lens.f
    with np.errstate(over="ignore"):
        wanted = np.linalg.norm(target, axis=1)
    radius = np.tan(np.linspace(0, np.radians(87.0), 20_000))
    shrunk = _shrunk(lens, radius)
    with np.errstate(over="ignore", invalid="ignore"):
        bent = shrunk * _radial(lens, shrunk * shrunk)
        rises = np.isfinite(bent) & np.concatenate([[True], np.diff(bent) > 0])
    last = len(rises) if rises.all() else int(np.argmin(rises))
    if last < 2 or not (wanted <= bent[last - 1]).mean() > 0.9:
        raise BadView("folds over within the photo")
    seen = wanted <= bent[last - 1]
    found = np.interp(wanted[seen], bent[:last], radius[:last])
    return target[seen] * np.where(wanted[seen] > 1e-12, found / np.maximum(wanted[seen], 1e-12), 1.0)[:, None]

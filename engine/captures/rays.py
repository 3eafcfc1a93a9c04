"""Between pixels and rays: what a camera sees where, with lens distortion both ways. Float64 inside.

Pixel coordinates are x right, y down, (0, 0) the photo's top-left corner, so pixel centres lie at +0.5. Rays have
z = -1 in camera space (OpenGL axes: +X right, +Y up, looking along -Z), so the parameter t along a ray is depth.

Lens models are OpenCV's (its documentation, "Camera Calibration and 3D Reconstruction" and "Fisheye camera model"):
``opencv`` is rational-radial plus tangential with (k1, k2, p1, p2, k3, k4, k5, k6), missing ones zero; ``fisheye`` is
theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4 theta^8).

A polynomial lens is an honest lens only up to the radius where it folds over; what lies beyond has no ray. There,
and from 88 degrees off the axis on (depth along the axis means nothing there), ``seen_pixels`` is False.
"""

from __future__ import annotations

import numpy as np

from engine.captures.capture import Camera

__all__ = ["camera_directions", "project", "rays_distort_well", "rays_through", "seen_pixels", "through_lens"]

_MAX_THETA = np.radians(88.0)
_MAX_RADIUS = float(np.tan(_MAX_THETA))
_STEPS = 40
_CLOSE = 1e-12  # of the image plane at unit distance; far below a thousandth of a pixel
_SOLVED_PX = 1e-3  # a pixel whose ray misses it by more than this has no ray


def camera_directions(camera: Camera, pixels: np.ndarray | None = None) -> np.ndarray:
    """Directions in camera space of the rays through all pixel centres, float32 [H, W, 3] with z = -1.

    With ``pixels`` [P], their numbers counted row by row, only through those: float32 [P, 3]. Where ``seen_pixels`` is
    False they are the nearest direction that the lens has, not a true one.
    """
    if pixels is not None:
        centres = np.stack([pixels % camera.width, pixels // camera.width], axis=1) + 0.5
        return _directions(_undistorted(camera, centres)[0]).astype(np.float32)
    plane, _ = _undistorted(camera, _centres(camera))
    return _directions(plane).astype(np.float32).reshape(camera.height, camera.width, 3)


def seen_pixels(camera: Camera) -> np.ndarray:
    """Bool [H, W]: True where the lens maps a ray to the pixel. All True but for lenses that fold or see sideways."""
    _, good = _undistorted(camera, _centres(camera))
    return good.reshape(camera.height, camera.width)


def rays_distort_well(camera: Camera) -> bool:
    """Whether all pixels along the photo's border have rays, and so all pixels have. Cheap."""
    along = np.linspace(0.0, 1.0, 17)
    zero, one = np.zeros_like(along), np.ones_like(along)
    border = np.stack([np.concatenate([along, along, zero, one]), np.concatenate([zero, one, along, along])], axis=1)
    _, good = _undistorted(camera, 0.5 + border * (camera.width - 1, camera.height - 1))
    return bool(good.all())


def rays_through(camera: Camera, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World rays (rays_o [N, 3], rays_d [N, 3]), float64, through the pixels ``points_px`` [N, 2].

    ``rays_d`` has camera-space z = -1 and so is not of unit length: ``rays_o + depth * rays_d`` is the point at that
    depth.
    """
    plane, _ = _undistorted(camera, np.asarray(points_px, dtype=np.float64).reshape(-1, 2))
    rays_d = _directions(plane) @ camera.world_from_camera[:3, :3].T
    return np.broadcast_to(camera.position, rays_d.shape).astype(np.float64), rays_d


def project(camera: Camera, points_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where world points [N, 3] fall: (points_px float64 [N, 2], depth float64 [N] along the viewing axis).

    ``points_px`` is NaN for points that the lens can't see (behind the camera, or beyond its fold), so comparisons
    with the photo's border are False for them. Points outside of the photo keep their coordinates.
    """
    points = np.asarray(points_world, dtype=np.float64).reshape(-1, 3)
    local = (points - camera.position) @ camera.world_from_camera[:3, :3]  # the inverse of a rotation, from the right
    depth = -local[:, 2]
    in_front = depth > 1e-12 * np.maximum(1.0, np.abs(local).max(axis=1, initial=0.0))
    plane = np.stack([local[:, 0], -local[:, 1]], axis=1) / np.where(in_front, depth, 1.0)[:, None]
    good = in_front & (np.linalg.norm(plane, axis=1) <= _reach(camera))
    distorted, _ = _distorted(camera, np.where(good[:, None], plane, 0.0))
    points_px = distorted * (camera.fl_x, camera.fl_y) + (camera.cx, camera.cy)
    return np.where(good[:, None], points_px, np.nan), depth


def through_lens(camera: Camera, plane: np.ndarray) -> np.ndarray:
    """Where the lens maps points of the plane at unit depth [N, 2] (x right, y down): pixels, float64 [N, 2].

    The bare formula: beyond the lens's fold it gives pixels, too. ``project`` is for everything but fitting lenses.
    """
    return _distorted(camera, np.asarray(plane, np.float64))[0] * (camera.fl_x, camera.fl_y) + (camera.cx, camera.cy)


def _centres(camera: Camera) -> np.ndarray:
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _directions(plane: np.ndarray) -> np.ndarray:
    return np.stack([plane[:, 0], -plane[:, 1], np.full(len(plane), -1.0)], axis=1)


def _coefficients(camera: Camera, count: int) -> np.ndarray:
    if len(camera.distortion) > count:
        raise ValueError(f"a {camera.model} camera has at most {count} distortion coefficients")
    return np.array([*camera.distortion, *[0.0] * (count - len(camera.distortion))], dtype=np.float64)


def _undistorted(camera: Camera, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [N, 2] to the plane at unit depth [N, 2] (x right, y down), and where that succeeded, bool [N]."""
    target = (points_px - (camera.cx, camera.cy)) / (camera.fl_x, camera.fl_y)
    if camera.model == "fisheye":
        return _undistorted_fisheye(camera, target)
    if camera.model == "pinhole" or not any(camera.distortion):
        return target, np.ones(len(target), dtype=bool)
    return _undistorted_opencv(camera, target)


def _distorted(camera: Camera, plane: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Points of the plane at unit depth [N, 2] through the lens [N, 2], and under opencv the Jacobian [N, 2, 2]."""
    if camera.model == "fisheye":
        radius = np.linalg.norm(plane, axis=1)
        theta_d, _ = _fisheye_polynomial(camera, np.arctan(radius))
        return plane * np.where(radius > 1e-12, theta_d / np.where(radius > 1e-12, radius, 1.0), 1.0)[:, None], None
    if camera.model == "pinhole" or not any(camera.distortion):
        return plane, None
    k1, k2, p1, p2, k3, k4, k5, k6 = _coefficients(camera, 8)
    x, y = plane[:, 0], plane[:, 1]
    r2 = x * x + y * y
    above, below = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    radial = above / below
    slope = (k1 + r2 * (2 * k2 + r2 * 3 * k3) - radial * (k4 + r2 * (2 * k5 + r2 * 3 * k6))) / below  # d radial / d r2
    point = np.stack(
        [x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y],
        axis=1,
    )
    cross = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
    jacobian = np.empty((len(plane), 2, 2))
    jacobian[:, 0, 0] = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
    jacobian[:, 0, 1] = cross
    jacobian[:, 1, 0] = cross
    jacobian[:, 1, 1] = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
    return point, jacobian


def _undistorted_opencv(camera: Camera, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Newton's method on the plane, held inside of the lens's reach."""
    reach = _reach(camera)
    plane = _held_inside(target, reach)
    for _ in range(_STEPS):
        value, jacobian = _distorted(camera, plane)
        assert jacobian is not None
        error = value - target
        determinant = jacobian[:, 0, 0] * jacobian[:, 1, 1] - jacobian[:, 0, 1] ** 2
        determinant = np.where(np.abs(determinant) < 1e-6, np.copysign(1e-6, determinant), determinant)
        step = (
            np.stack(
                [
                    jacobian[:, 1, 1] * error[:, 0] - jacobian[:, 0, 1] * error[:, 1],
                    jacobian[:, 0, 0] * error[:, 1] - jacobian[:, 1, 0] * error[:, 0],
                ],
                axis=1,
            )
            / determinant[:, None]
        )
        length = np.linalg.norm(step, axis=1, keepdims=True)
        step = step * np.minimum(1.0, 0.5 / np.maximum(length, 1e-30))  # near the fold a full step would leap over it
        moved = _held_inside(plane - step, reach)
        change = np.abs(moved - plane).max(initial=0.0)
        plane = moved
        if change < _CLOSE:
            break
    miss_px = np.abs((_distorted(camera, plane)[0] - target) * (camera.fl_x, camera.fl_y)).max(axis=1, initial=0.0)
    return plane, miss_px < _SOLVED_PX


def _held_inside(plane: np.ndarray, reach: float) -> np.ndarray:
    radius = np.linalg.norm(plane, axis=1, keepdims=True)
    return plane * np.minimum(1.0, reach / np.maximum(radius, 1e-30))


def _fisheye_polynomial(camera: Camera, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    k1, k2, k3, k4 = _coefficients(camera, 4)
    t2 = theta * theta
    value = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
    slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
    return value, slope


def _undistorted_fisheye(camera: Camera, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Newton's method on the angle theta, bracketed: the polynomial rises up to the lens's reach."""
    theta_d = np.linalg.norm(target, axis=1)
    low, high = np.zeros_like(theta_d), np.full_like(theta_d, np.arctan(_reach(camera)))
    good = theta_d <= _fisheye_polynomial(camera, high)[0]
    theta = np.minimum(theta_d, high)
    for _ in range(_STEPS):
        value, slope = _fisheye_polynomial(camera, theta)
        error = value - theta_d
        low, high = np.where(error < 0, theta, low), np.where(error < 0, high, theta)
        moved = theta - error / np.where(np.abs(slope) < 1e-9, 1e-9, slope)
        moved = np.where((moved < low) | (moved > high), 0.5 * (low + high), moved)
        change = np.abs(moved - theta).max(initial=0.0)
        theta = moved
        if change < _CLOSE:
            break
    scale = np.where(theta_d > 1e-12, np.tan(theta) / np.where(theta_d > 1e-12, theta_d, 1.0), 1.0)
    return target * scale[:, None], good


def _reach(camera: Camera) -> float:
    """The radius on the plane at unit depth up to which the lens's radial part rises, at most tan(88 degrees)."""
    if camera.model == "fisheye":
        k1, k2, k3, k4 = _coefficients(camera, 4)
        turns = _positive_roots([9 * k4, 7 * k3, 5 * k2, 3 * k1, 1.0])  # of the slope, in theta^2
        return float(np.tan(min([_MAX_THETA, *np.sqrt(turns)])))
    if camera.model == "pinhole" or not any(camera.distortion):
        return np.inf
    k1, k2, _, _, k3, k4, k5, k6 = _coefficients(camera, 8)
    above, below = np.array([k3, k2, k1, 1.0]), np.array([k6, k5, k4, 1.0])
    # d/dr (r above(s) / below(s)) with s = r^2 has the sign of: above below + 2 s (above' below - above below')
    rise: np.ndarray = np.polysub(np.polymul(np.polyder(above), below), np.polymul(above, np.polyder(below)))
    slope = np.polyadd(np.polymul(above, below), 2 * np.polymul(rise, [1.0, 0.0]))
    turns = [*_positive_roots(slope), *_positive_roots(below)]
    # just short of the fold: on it the Jacobian is singular and Newton's method has nowhere to go
    return min([_MAX_RADIUS, *(0.999 * float(np.sqrt(turn)) for turn in turns)])


def _positive_roots(polynomial: list[float] | np.ndarray) -> list[float]:
    values = np.asarray(polynomial, dtype=np.float64)
    values = np.where(np.abs(values) < 1e-30, 0.0, values)  # a leading coefficient of nearly nothing would overflow
    roots = np.roots(np.trim_zeros(values, "f"))
    real = roots[np.abs(roots.imag) < 1e-9 * np.maximum(1.0, np.abs(roots.real))].real
    return [float(root) for root in real if root > 0]

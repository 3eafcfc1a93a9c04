"""What a mapping came to: the largest model set upright, as COLMAP's files and as nerfstudio's, and what is missing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from engine.structure.upright import upright_similarity

__all__ = ["OUTCOME", "POINTS", "SPARSE", "write_outcome"]

OUTCOME, POINTS, SPARSE = "outcome.json", "sparse.ply", "sparse/0"
_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
_DIVERGED = 100.0  # times the points' median distance from their median: what is further is no part of the scene
_PANORAMIC = ("PANORAMIC", "PLANAR_OR_PANORAMIC")


def write_outcome(pycolmap: Any, folder: Path, database: Path, models: Path) -> None:
    """Writes outcome.json, and where there is a model sparse.ply and sparse/0, into ``folder``.

    outcome.json: ``frames`` (name, lens, transform_matrix in OpenGL axes, upright), ``models`` (the names in each, most
    first), ``photos`` (features, and inliers with the best matching other photo, for each name), ``points``,
    ``error_px``, and ``panoramic``, the share of matching pairs between which the camera only turned.
    """
    found = [pycolmap.Reconstruction(each) for each in sorted(models.iterdir()) if each.is_dir()]
    found.sort(key=lambda model: -model.num_reg_images())
    outcome: dict[str, Any] = {"models": [sorted(i.name for i in _registered(model)) for model in found]}
    outcome |= _matches(pycolmap, database)
    outcome |= {"frames": [], "points": 0, "error_px": None}
    if found:
        best = found[0]
        _set_upright(pycolmap, best)
        outcome["frames"] = [_frame(image, best) for image in sorted(_registered(best), key=lambda image: image.name)]
        outcome["points"] = best.num_points3D()
        outcome["error_px"] = float(best.compute_mean_reprojection_error())
        shutil.rmtree(folder / SPARSE, ignore_errors=True)
        (folder / SPARSE).mkdir(parents=True)
        best.write_binary(folder / SPARSE)
        _write_ply(best, folder / POINTS)
    partial = folder / f".partial-{OUTCOME}"
    partial.write_text(json.dumps(outcome), encoding="utf-8")
    os.replace(partial, folder / OUTCOME)


def _registered(model: Any) -> list[Any]:
    return [model.image(i) for i in model.reg_image_ids()]


def _set_upright(pycolmap: Any, model: Any) -> None:
    """Turns, scales and moves the model; points absurdly far away, or of no certain place, go."""
    poses = np.stack([_pose(image) for image in _registered(model)])
    places = {i: np.array(point.xyz) for i, point in model.points3D.items()}
    points = np.stack(list(places.values())) if places else np.zeros((0, 3))
    scale, rotation, shift = upright_similarity(poses, points)
    if len(points):
        middle = np.median(points, axis=0)
        away = np.linalg.norm(points - middle, axis=1)
        for i, distance in zip(places, away, strict=True):
            if not np.isfinite(distance) or distance > _DIVERGED * np.median(away):
                model.delete_point3D(i)
    model.transform(pycolmap.Sim3d(np.hstack([scale * rotation, shift[:, None]])))


def _pose(image: Any) -> np.ndarray:
    """Camera-to-world [4, 4] in OpenGL axes."""
    pose = np.eye(4)
    pose[:3] = image.cam_from_world().inverse().matrix()
    return pose @ _OPENGL_FROM_OPENCV


def _frame(image: Any, model: Any) -> dict[str, Any]:
    camera = model.camera(image.camera_id)
    named = dict(zip((name.strip() for name in camera.params_info.split(",")), camera.params.tolist(), strict=True))
    lens: dict[str, Any] = {
        "camera_model": camera.model.name,
        "w": camera.width,
        "h": camera.height,
        "fl_x": named.get("fx", named.get("f")),
        "fl_y": named.get("fy", named.get("f")),
        "cx": named["cx"],
        "cy": named["cy"],
    }
    terms = {"k": "k1"}  # SIMPLE_RADIAL's one coefficient
    lens |= {terms.get(str(name), str(name)): value for name, value in named.items() if str(name)[0] in "kp"}
    return {"name": image.name, "lens": lens, "transform_matrix": _pose(image).tolist()}


def _matches(pycolmap: Any, database: Path) -> dict[str, Any]:
    with pycolmap.Database.open(database) as opened:
        names = {image.image_id: image.name for image in opened.read_all_images()}
        photos: dict[str, Any] = {
            str(name): {"features": opened.num_keypoints_for_image(i), "inliers": 0, "with": ""}
            for i, name in names.items()
        }
        turned = total = 0
        pairs, geometries = opened.read_two_view_geometries()
        for pair, geometry in zip(pairs, geometries, strict=True):
            inliers = len(geometry.inlier_matches)
            if not inliers:
                continue
            total += 1
            turned += pycolmap.TwoViewGeometryConfiguration(geometry.config).name in _PANORAMIC
            first, second = (str(names[i]) for i in pycolmap.pair_id_to_image_pair(pair))
            for one, other in ((first, second), (second, first)):
                if inliers > photos[one]["inliers"]:
                    photos[one] |= {"inliers": inliers, "with": other}
    return {"photos": photos, "panoramic": turned / total if total else 0.0}


def _write_ply(model: Any, path: Path) -> None:
    points = list(model.points3D.values())
    table = np.zeros(
        len(points), [(axis, "<f4") for axis in "xyz"] + [(channel, "u1") for channel in ("red", "green", "blue")]
    )
    if points:
        xyz, rgb = np.stack([p.xyz for p in points]), np.stack([p.color for p in points])
        for i, (axis, channel) in enumerate(zip("xyz", ("red", "green", "blue"), strict=True)):
            table[axis], table[channel] = xyz[:, i], rgb[:, i]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    path.write_bytes("\n".join([*header, "end_header\n"]).encode("ascii") + table.tobytes())

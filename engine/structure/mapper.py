"""A process of its own that finds cameras with pycolmap: ``python -m engine.structure.mapper WORK``.

pycolmap computes for minutes without looking up, and can crash; a process can be killed at any time. It says what it is
at in JSON lines on standard output; its database and models in the folder WORK are what a later run goes on with.
It never loads torch.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.structure.outcome import write_outcome
from engine.structure.pairs import (
    ALIKE,
    ALIKE_IN_VIDEO,
    EXHAUSTIVE_UP_TO,
    all_pairs,
    look_alikes,
    neighbours,
    vlad,
    words,
)

__all__ = ["DATABASE", "MODELS", "SETTINGS", "main"]

SETTINGS, DATABASE, LISTED = "settings.json", "database.db", "listed"
MODELS = "models"
MOST_FEATURES = 4096
FEATURE_SIDE = 1200  # pixels; the side at which features are looked for
LEAST_MODEL = 3  # photos
AGAIN = "again"  # the folder of a second attempt, in the work folder
_ENOUGH_PLACED = 0.95  # of the photos
_ENOUGH_FEATURES = 1500  # of the median photo: faint ones would bring it no more
_FEW_POSE_INLIERS = 20  # points that a photo may be placed by where there are few; 30 otherwise
_FAINT = 0.002  # how much a faint feature stands out; 0.0067 otherwise


def main(folder: Path) -> None:
    """Runs all steps; those that an earlier run finished take no time."""
    import pycolmap

    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.ERROR)
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    place = folder
    _attempt(pycolmap, folder, place, settings)
    if _is_poor(pycolmap, folder, len(settings["photos"])):
        _attempt(pycolmap, folder, folder / AGAIN, settings)
        if _most_placed(pycolmap, folder / AGAIN) > _most_placed(pycolmap, folder):
            place = folder / AGAIN
    _say(stage="outcome", total=1)
    write_outcome(pycolmap, folder, place / DATABASE, place / MODELS)


def _attempt(pycolmap: Any, folder: Path, place: Path, settings: dict[str, Any]) -> None:
    """All steps up to models in ``place``: the work folder, or, with faint features too, its folder AGAIN."""
    photos: list[dict[str, Any]] = settings["photos"]
    faint = place != folder
    place.mkdir(exist_ok=True)
    where = {"again": faint, "database": (place / DATABASE).relative_to(folder).as_posix()}
    if not (place / LISTED).exists():
        _list(pycolmap, folder, place, photos, settings["camera_model"])
    _say(stage="features", total=len(photos), **where)
    _features(pycolmap, folder, place, photos, settings, faint)
    names = [photo["name"] for photo in photos]
    pairs = _pairs(pycolmap, place, names, settings)
    _say(stage="matches", total=len(pairs), **where)
    _matches(pycolmap, place, [(names[i], names[j]) for i, j in sorted(pairs)], settings)
    _say(stage="mapping", total=len(photos), **where)
    _map(pycolmap, folder, place, settings, faint)


def _most_placed(pycolmap: Any, place: Path) -> int:
    """The photos of the largest model."""
    models = [pycolmap.Reconstruction(each) for each in (place / MODELS).iterdir() if each.is_dir()]
    return max((model.num_reg_images() for model in models), default=0)


def _is_poor(pycolmap: Any, folder: Path, count: int) -> bool:
    """Whether many photos found no place, and that may be because they have few features."""
    if _most_placed(pycolmap, folder) >= _ENOUGH_PLACED * count:
        return False
    with pycolmap.Database.open(folder / DATABASE) as database:
        found = [database.num_keypoints_for_image(image.image_id) for image in database.read_all_images()]
    return bool(found) and float(np.median(found)) < _ENOUGH_FEATURES


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def _list(pycolmap: Any, folder: Path, place: Path, photos: list[dict[str, Any]], model: str) -> None:
    """Writes photos and cameras into a new database: one camera for each lens, with its focal length if known."""
    for old in place.glob(f"{DATABASE}*"):
        old.unlink()
    pycolmap.Database.open(place / DATABASE).close()
    for lens in dict.fromkeys(photo["lens"] for photo in photos):
        alike = [photo for photo in photos if photo["lens"] == lens]
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = model
        if alike[0]["focal_px"]:
            camera = pycolmap.Camera.create_from_model_name(
                1, model, alike[0]["focal_px"], alike[0]["width"], alike[0]["height"]
            )
            reader.camera_params = ",".join(str(float(value)) for value in camera.params)
        pycolmap.import_images(
            place / DATABASE, folder / "images", pycolmap.CameraMode.SINGLE, [photo["name"] for photo in alike], reader
        )
    (place / LISTED).touch()


def _features(
    pycolmap: Any, folder: Path, place: Path, photos: list[dict[str, Any]], settings: dict[str, Any], faint: bool
) -> None:
    options = pycolmap.FeatureExtractionOptions()
    options.max_image_size = FEATURE_SIDE
    options.num_threads = settings["threads"]
    options.use_gpu = False
    options.sift.max_num_features = MOST_FEATURES
    if faint:
        # Their shape as well, by which they are found from further to the side (Mikolajczyk and Schmid, 2004).
        options.sift.peak_threshold, options.sift.estimate_affine_shape = _FAINT, True
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = settings["camera_model"]
    if any(photo["mask"] for photo in photos):
        reader.mask_path = folder / "masks"
    pycolmap.extract_features(
        place / DATABASE,
        folder / "images",
        [photo["name"] for photo in photos],
        pycolmap.CameraMode.AUTO,  # each keeps its camera of the database; SINGLE would leave out photos of other sizes
        reader,
        options,
        pycolmap.Device.cpu,
    )


def _pairs(pycolmap: Any, place: Path, names: list[str], settings: dict[str, Any]) -> set[tuple[int, int]]:
    if len(names) <= EXHAUSTIVE_UP_TO and not settings["ordered"]:
        return all_pairs(len(names))
    _say(stage="pairs", total=len(names))
    with pycolmap.Database.open(place / DATABASE) as database:
        ids = {image.name: image.image_id for image in database.read_all_images()}

        def descriptors() -> Iterator[np.ndarray]:
            for name in names:
                found = database.read_descriptors(ids[name]) if name in ids else None
                data = None if found is None else np.asarray(getattr(found, "data", found))
                yield np.zeros((0, 128), np.uint8) if data is None or not data.size else data.reshape(-1, 128)

        typical = words(descriptors(), settings["seed"])
        vectors = [vlad(found, typical) for found in descriptors()]
    near = neighbours(len(names))
    return near | look_alikes(vectors, ALIKE_IN_VIDEO if settings["ordered"] else ALIKE, near)


def _matches(pycolmap: Any, place: Path, pairs: list[tuple[str, str]], settings: dict[str, Any]) -> None:
    listed = place / "pairs.txt"
    listed.write_text("".join(f"{a} {b}\n" for a, b in pairs), encoding="utf-8")
    options = pycolmap.FeatureMatchingOptions()
    options.num_threads = settings["threads"]
    options.use_gpu = False
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = settings["seed"]
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = listed
    pycolmap.match_image_pairs(place / DATABASE, options, pairing, verification, pycolmap.Device.cpu)


def _map(pycolmap: Any, folder: Path, place: Path, settings: dict[str, Any], faint: bool) -> None:
    """Models of at least three photos, each in a folder of its own; whole when "models" is there."""
    if (place / MODELS).is_dir():
        return
    partial = place / "mapping"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = settings["threads"]
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = settings["seed"]
    options.min_model_size = LEAST_MODEL
    options.max_num_models = 5
    if faint:
        options.mapper.abs_pose_min_num_inliers = _FEW_POSE_INLIERS
    count = 0

    def started() -> None:
        nonlocal count
        count = 2
        _say(registered=count)

    def another() -> None:
        nonlocal count
        count += 1
        _say(registered=count)

    found = pycolmap.incremental_mapping(
        place / DATABASE,
        folder / "images",
        partial,
        options,
        initial_image_pair_callback=started,
        next_image_callback=another,
    )
    if not found:  # a small or flat scene: be content with less of a start
        options.mapper.init_min_num_inliers, options.mapper.init_min_tri_angle = 40, 4.0
        options.mapper.abs_pose_min_num_inliers = _FEW_POSE_INLIERS
        found = pycolmap.incremental_mapping(
            place / DATABASE,
            folder / "images",
            partial,
            options,
            initial_image_pair_callback=started,
            next_image_callback=another,
        )
    os.replace(partial, place / MODELS)


def _end_with_parent() -> None:
    """Standard input ends when the engine does."""
    while os.read(0, 1024):
        continue
    os._exit(3)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main(Path(sys.argv[1]))

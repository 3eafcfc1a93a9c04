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
from engine.structure.pairs import EXHAUSTIVE_UP_TO, all_pairs, look_alikes, neighbours, vlad, words

__all__ = ["DATABASE", "MODELS", "SETTINGS", "main"]

SETTINGS, DATABASE, LISTED = "settings.json", "database.db", "listed"
MODELS = "models"
MOST_FEATURES = 4096
FEATURE_SIDE = 1200  # pixels; the side at which features are looked for
LEAST_MODEL = 3  # photos


def main(folder: Path) -> None:
    """Runs all steps; those that an earlier run finished take no time."""
    import pycolmap

    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.ERROR)
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    photos: list[dict[str, Any]] = settings["photos"]
    if not (folder / LISTED).exists():
        _list(pycolmap, folder, photos, settings["camera_model"])
    _say(stage="features", total=len(photos))
    _features(pycolmap, folder, photos, settings)
    names = [photo["name"] for photo in photos]
    pairs = _pairs(pycolmap, folder, names, settings)
    _say(stage="matches", total=len(pairs))
    _matches(pycolmap, folder, [(names[i], names[j]) for i, j in sorted(pairs)], settings)
    _say(stage="mapping", total=len(photos))
    _map(pycolmap, folder, settings)
    _say(stage="outcome", total=1)
    write_outcome(pycolmap, folder, folder / DATABASE, folder / MODELS)


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def _list(pycolmap: Any, folder: Path, photos: list[dict[str, Any]], model: str) -> None:
    """Writes photos and cameras into a new database: one camera for each lens, with its focal length if known."""
    for old in folder.glob(f"{DATABASE}*"):
        old.unlink()
    pycolmap.Database.open(folder / DATABASE).close()
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
            folder / DATABASE, folder / "images", pycolmap.CameraMode.SINGLE, [photo["name"] for photo in alike], reader
        )
    (folder / LISTED).touch()


def _features(pycolmap: Any, folder: Path, photos: list[dict[str, Any]], settings: dict[str, Any]) -> None:
    options = pycolmap.FeatureExtractionOptions()
    options.max_image_size = FEATURE_SIDE
    options.num_threads = settings["threads"]
    options.use_gpu = False
    options.sift.max_num_features = MOST_FEATURES
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = settings["camera_model"]
    if any(photo["mask"] for photo in photos):
        reader.mask_path = folder / "masks"
    pycolmap.extract_features(
        folder / DATABASE,
        folder / "images",
        [photo["name"] for photo in photos],
        pycolmap.CameraMode.SINGLE,
        reader,
        options,
        pycolmap.Device.cpu,
    )


def _pairs(pycolmap: Any, folder: Path, names: list[str], settings: dict[str, Any]) -> set[tuple[int, int]]:
    if len(names) <= EXHAUSTIVE_UP_TO and not settings["ordered"]:
        return all_pairs(len(names))
    _say(stage="pairs", total=len(names))
    with pycolmap.Database.open(folder / DATABASE) as database:
        ids = {image.name: image.image_id for image in database.read_all_images()}

        def descriptors() -> Iterator[np.ndarray]:
            for name in names:
                found = database.read_descriptors(ids[name]) if name in ids else None
                data = None if found is None else np.asarray(getattr(found, "data", found))
                yield np.zeros((0, 128), np.uint8) if data is None or not data.size else data.reshape(-1, 128)

        typical = words(descriptors(), settings["seed"])
        vectors = [vlad(found, typical) for found in descriptors()]
    alike = look_alikes(vectors, 5 if settings["ordered"] else 20)
    return neighbours(len(names)) | alike


def _matches(pycolmap: Any, folder: Path, pairs: list[tuple[str, str]], settings: dict[str, Any]) -> None:
    listed = folder / "pairs.txt"
    listed.write_text("".join(f"{a} {b}\n" for a, b in pairs), encoding="utf-8")
    options = pycolmap.FeatureMatchingOptions()
    options.num_threads = settings["threads"]
    options.use_gpu = False
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = settings["seed"]
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = listed
    pycolmap.match_image_pairs(folder / DATABASE, options, pairing, verification, pycolmap.Device.cpu)


def _map(pycolmap: Any, folder: Path, settings: dict[str, Any]) -> None:
    """Models of at least three photos, each in a folder of its own; whole when "models" is there."""
    if (folder / MODELS).is_dir():
        return
    partial = folder / "mapping"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = settings["threads"]
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = settings["seed"]
    options.min_model_size = LEAST_MODEL
    options.max_num_models = 5
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
        folder / DATABASE,
        folder / "images",
        partial,
        options,
        initial_image_pair_callback=started,
        next_image_callback=another,
    )
    if not found:  # a small or flat scene: be content with less of a start
        options.mapper.init_min_num_inliers, options.mapper.init_min_tri_angle = 40, 4.0
        options.mapper.abs_pose_min_num_inliers = 20
        found = pycolmap.incremental_mapping(
            folder / DATABASE,
            folder / "images",
            partial,
            options,
            initial_image_pair_callback=started,
            next_image_callback=another,
        )
    os.replace(partial, folder / MODELS)


def _end_with_parent() -> None:
    """Standard input ends when the engine does."""
    while os.read(0, 1024):
        continue
    os._exit(3)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main(Path(sys.argv[1]))

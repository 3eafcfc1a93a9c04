"""From photos or a video without poses to a capture: the whole way, and the folder that is written."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from engine.cache import Cache, storage_errors, write_json
from engine.captures.images import photo_key
from engine.options import Options
from engine.out_folder import refuse_capture
from engine.progress import Job
from engine.structure import advice
from engine.structure.earlier_result import FILES, REPORT, earlier_files, remove_files
from engine.structure.frames import FRAMES, is_video, take_frames
from engine.structure.mapper import SETTINGS
from engine.structure.mapping_process import check_pycolmap, run_mapper
from engine.structure.outcome import OUTCOME, POINTS, SPARSE
from engine.structure.photos import MASKS, MAX_SIDE, Photo, Skipped, list_photos, prepare_photos
from engine.whole_folder import written_together
from sa3d_blender.protocol.errors import CaptureError, StorageError

__all__ = ["CAMERA_MODELS", "PosesOptions", "find_poses"]

CAMERA_MODELS = ("SIMPLE_RADIAL", "OPENCV", "SIMPLE_PINHOLE", "PINHOLE", "RADIAL", "OPENCV_FISHEYE")
_VERSION = 5  # of the work folder's content
_PREPARED = "prepared.json"
_OWN = ("images", MASKS, "transforms.json", POINTS, "sparse", REPORT)


@dataclass(frozen=True)
class PosesOptions:
    """How cameras are found.

    ``max_side``: no photo of the capture is larger, in pixels. ``frames``: about how many are taken of a video.
    ``camera``: a lens model of COLMAP. ``masks``: a folder with a mask for each photo, white where it shows the scene;
    by default the folder "masks" beside the photos.
    """

    max_side: int = MAX_SIDE
    frames: int = FRAMES
    camera: str = "SIMPLE_RADIAL"
    masks: Path | None = None


def find_poses(source: Path, out: Path, options: Options, job: Job, how: PosesOptions | None = None) -> dict[str, Any]:
    """Finds the cameras of the photos in a folder, or of a video, and writes a capture into the folder ``out``.

    What an earlier run wrote there is replaced, and only that; a folder that holds anything else is refused.
    It holds upright photos, a transforms.json, sparse points and COLMAP's model, all in one world: +Z up, the origin
    at what the cameras look at, the cameras 2 units away from it, by the median. The work is kept in the cache: a run
    that was stopped or killed goes on from there. Returns what was found, as `sa3d captures poses --json` prints it.

    Raises:
        CaptureError: the photos can't be used, or no cameras were found. StorageError: ``out`` can't be written.
        EnvironmentFault: pycolmap, or PyAV for a video, is not installed. Cancelled.
    """
    how = how or PosesOptions()
    if how.camera not in CAMERA_MODELS:
        raise CaptureError(
            f"There is no camera model called {how.camera[:40]!r}.", f"Choose one of: {', '.join(CAMERA_MODELS)}."
        )
    check_pycolmap()
    refuse_capture(out, source)
    earlier_files(out, _OWN)  # refuses a folder that holds other things
    video, paths, skipped = is_video(source), [source], list[Skipped]()
    if not video:
        if not source.is_dir():
            raise CaptureError(f"{source} is neither a folder of photos nor a video.", "Check the path.")
        paths, skipped = list_photos(source)
        if len(paths) < advice.LEAST_PHOTOS:
            raise CaptureError(
                f"{source} holds {len(paths)} photo{'s' if len(paths) > 1 else ''}, at least "
                f"{advice.LEAST_PHOTOS} are needed.",
                "Take 30 or more, all around the object, each sharing 70 % or more with the next.",
            )
    masks = None if video else how.masks or _masks_beside(source)
    work = Cache(options.cache).folder("poses", _key(paths, masks, how, options.seed, job))
    lock = FileLock(work / ".lock", timeout=0)
    try:
        with storage_errors(work), lock:
            photos, more, told = _prepared(work, paths, masks, video, how, job)
            skipped = [*skipped, *more]
            told = [*told, *advice.skipped_warnings(skipped)]
            outcome = _mapped(work, photos, video, how, options, job, told)
            return _write(work, out, photos, skipped, outcome, told, job)
    except Timeout as error:
        raise StorageError(
            "The cameras of these photos are being found already.", "Wait until that has ended."
        ) from error


def _masks_beside(folder: Path) -> Path | None:
    """The folder of masks in the photos' folder or beside it; one with a test capture's truth is none."""
    for place in (folder, folder.parent):
        if (place / MASKS).is_dir() and not (place / "objects.json").exists():
            return place / MASKS if (place == folder or folder.name.startswith("images")) else None
    return None


def _key(paths: Sequence[Path], masks: Path | None, how: PosesOptions, seed: int, job: Job) -> str:
    """Names the photos' content and all that the outcome depends on."""
    digest = hashlib.sha256(f"{_VERSION}|{how.max_side}|{how.frames}|{how.camera}|{seed}".encode())
    with job.stage("Looking for earlier work", len(paths)) as stage:
        for path in paths:
            digest.update(f"|{path.name}|{photo_key(path, job.check)}".encode("utf-8", "surrogateescape"))
            stage.advance()
        if masks is not None:
            for path in sorted(each for each in masks.iterdir() if each.is_file()):
                digest.update(f"|mask {path.name}|{photo_key(path)}".encode("utf-8", "surrogateescape"))
                job.check()
    return digest.hexdigest()[:32]


def _prepared(
    work: Path, paths: Sequence[Path], masks: Path | None, video: bool, how: PosesOptions, job: Job
) -> tuple[list[Photo], list[Skipped], list[str]]:
    """The upright copies in the work folder, made now or by an earlier run; and what is to be said of the video."""
    record = work / _PREPARED
    if record.exists():
        known = json.loads(record.read_text(encoding="utf-8"))
        photos, skipped = [Photo(**each) for each in known["photos"]], [Skipped(**each) for each in known["skipped"]]
        return photos, skipped, known["told"]
    skipped, told = list[Skipped](), list[str]()
    if video:
        photos, told = take_frames(paths[0], how.frames, work, how.max_side, job)
    else:
        photos, skipped = prepare_photos(paths, masks, work, how.max_side, job)
    found = {"photos": [asdict(each) for each in photos], "skipped": [asdict(each) for each in skipped], "told": told}
    write_json(record, found)
    return photos, skipped, told


def _mapped(
    work: Path,
    photos: Sequence[Photo],
    video: bool,
    how: PosesOptions,
    options: Options,
    job: Job,
    told: Sequence[str],
) -> dict[str, Any]:
    if len(photos) < advice.LEAST_PHOTOS:
        raise CaptureError(
            " ".join([f"Only {len(photos)} photos can be used, at least {advice.LEAST_PHOTOS} are needed.", *told]),
            "Take more photos, each sharing 70 % or more with the next.",
        )
    if not (work / OUTCOME).exists():
        import torch

        threads = torch.get_num_threads()
        settings: dict[str, Any] = {"photos": [asdict(each) for each in photos], "camera_model": how.camera}
        settings |= {"ordered": video, "seed": options.seed, "threads": threads}
        write_json(work / SETTINGS, settings)
        run_mapper(work, job, threads)
    outcome: dict[str, Any] = json.loads((work / OUTCOME).read_text(encoding="utf-8"))
    if len(outcome["frames"]) < advice.LEAST_PHOTOS:
        what, cure = advice.failure(photos, outcome)
        raise CaptureError(" ".join([what, *told]), cure)
    return outcome


def _write(
    work: Path,
    out: Path,
    photos: Sequence[Photo],
    skipped: Sequence[Skipped],
    outcome: Mapping[str, Any],
    told: Sequence[str],
    job: Job,
) -> dict[str, Any]:
    by_name = {photo.name: photo for photo in photos}
    told = [*told, *advice.warnings(photos, outcome)]
    for line in told:
        job.log(f"Warning: {line}")
    frames = []
    earlier = earlier_files(out, _OWN)
    with job.stage("Writing the capture", len(outcome["frames"])) as stage, written_together(out) as part:
        for frame in outcome["frames"]:
            photo = by_name[frame["name"]]
            listed = {"file_path": f"images/{photo.name}", **frame["lens"]}
            listed["transform_matrix"] = frame["transform_matrix"]
            _copy(work, part, f"images/{photo.name}")
            if photo.mask:
                _copy(work, part, f"{MASKS}/{photo.mask}")
                listed["mask_path"] = f"{MASKS}/{photo.mask}"
            frames.append(listed)
            stage.advance()
        for path in sorted((work / SPARSE).iterdir()):
            _copy(work, part, f"{SPARSE}/{path.name}")
        _copy(work, part, POINTS)
        write_json(part / "transforms.json", {"ply_file_path": POINTS, "frames": frames})
        report: dict[str, Any] = {
            "capture": str(out.absolute()),
            "photos": len(photos) + len(skipped),
            "placed": len(frames),
            "not_placed": advice.unplaced(photos, outcome),
            "skipped": {each.name: each.why for each in skipped},
            "models": [len(names) for names in outcome["models"]],
            "points": outcome["points"],
            "error_px": outcome["error_px"],
            "warnings": told,
            "seconds": dict(job.timings),
        }
        kept = {key: value for key, value in report.items() if key != "capture"}
        new = {path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file()} | {REPORT}
        # Were we killed before the earlier result's files are gone, the next run would find them listed still.
        write_json(part / REPORT, kept | {FILES: sorted(new | earlier)})
    if earlier - new:
        remove_files(out, earlier - new)
        with storage_errors(out):
            write_json(out / REPORT, kept | {FILES: sorted(new)})
        job.log(f"{len(earlier - new)} files of an earlier result in {out} are removed.")
    return report


def _copy(work: Path, part: Path, name: str) -> None:
    (part / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(work / name, part / name)

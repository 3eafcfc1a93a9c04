"""A video's frames as photos: the sharpest of each stretch, where the camera has moved on.

Two passes: the first looks at all frames, small; the second writes those that were picked. One frame is in memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.captures.images import MAX_PIXELS
from engine.progress import Job
from engine.structure.advice import LEAST_PHOTOS
from engine.structure.photos import LEAST_SIDE, Photo
from sa3d_blender.protocol.errors import CaptureError, EnvironmentFault

__all__ = ["FRAMES", "VIDEO_SUFFIXES", "Look", "is_video", "pick", "take_frames"]

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mts", ".3gp"})
FRAMES = 100
MOST_FRAMES = 200_000
_WHOLE = 0.9  # of the frames that a video announces: with fewer it is damaged
_LOOK_SIDE = 160  # pixels of a frame when it is looked at
_STILL = 0.25  # a pick that moved less than this share of the usual way between two picks is left out
_BLURRED = 0.35  # of the median sharpness around it: a stretch whose best frame is below that is left out


@dataclass(frozen=True)
class Look:
    """What is known of a frame: its number, how sharp it is, and how far (in widths) the picture moved before it."""

    index: int
    sharpness: float
    motion: float


def is_video(path: Path) -> bool:
    """Whether a file is called like a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def take_frames(path: Path, count: int, into: Path, max_side: int, job: Job) -> tuple[list[Photo], list[str]]:
    """Writes about ``count`` frames of a video, upright, into ``into``'s folder "images". Returns them, and sentences
    about what of the video couldn't be used.

    Raises CaptureError where it is no video that can be read, EnvironmentFault without PyAV, Cancelled; OSError where
    the frames can't be written.
    """
    looks, told = _look(path, job)
    chosen = {look.index for look in pick(looks, count)}
    (into / "images").mkdir(parents=True, exist_ok=True)
    photos = []
    with job.stage("Writing frames", max(chosen) + 1) as stage:
        for index, picture, turn in _decoded(path):
            job.check()
            if index % 10 == 0:
                stage.at(min(index, stage.total))
            if index in chosen:
                image = Image.fromarray(np.rot90(picture.to_ndarray(format="rgb24"), turn))
                scale = min(1.0, max_side / max(image.size))
                size = (round(image.width * scale), round(image.height * scale))
                name = f"frame_{index:06d}.jpg"
                (image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)).save(
                    into / "images" / name, quality=95
                )
                photos.append(Photo(name, name, *size, f"video|{size[0]}x{size[1]}"))
            if index >= max(chosen):
                break
    return photos, told


def pick(looks: Sequence[Look], count: int) -> list[Look]:
    """The frames to be taken: the way of the camera is cut into ``count`` equal stretches (half by time, half by
    motion, so that a pause gives few and a quick turn many), and of each the sharpest frame counts.

    Stretches in which all is blurred give none, nor do those that show what the pick before showed.
    """
    if len(looks) <= 2:
        return list(looks)
    motion = np.array([look.motion for look in looks])
    way = np.cumsum(motion) / max(1e-9, float(motion.sum())) + np.linspace(0, 1, len(looks))
    stretch = np.minimum((way / way[-1] * count).astype(int), count - 1)
    sharp = np.array([look.sharpness for look in looks])
    best = [int(members[sharp[members].argmax()]) for n in range(count) if len(members := np.flatnonzero(stretch == n))]
    # Compared with what is near in time: another side of the scene may show less detail, and is wanted all the same.
    near = max(5, len(best) // 8)
    usual_sharp = [np.median(sharp[best[max(0, n - near) : n + near + 1]]) for n in range(len(best))]
    good = [i for i, usual in zip(best, usual_sharp, strict=True) if sharp[i] >= _BLURRED * usual]
    travelled = np.cumsum(motion)
    usual = float(travelled[-1]) / count
    kept = good[:1]
    for i in good[1:]:
        if travelled[i] - travelled[kept[-1]] >= _STILL * usual:
            kept.append(i)
    return [looks[i] for i in (kept if len(kept) >= 3 else best)]


def _look(path: Path, job: Job) -> tuple[list[Look], list[str]]:
    looks: list[Look] = []
    before, announced, damaged = None, 0, False
    with job.stage("Looking at the video") as stage, contextlib.suppress(_Damaged):
        damaged = True
        for index, picture, _ in _decoded(path):
            if picture.width * picture.height > MAX_PIXELS:
                raise CaptureError(f"The frames of {path.name} are too large.", "Shrink the video first.")
            if min(picture.width, picture.height) < LEAST_SIDE:
                raise CaptureError(f"The frames of {path.name} are too small.", "Use the video as it was taken.")
            scale = _LOOK_SIDE / max(picture.width, picture.height)
            size = max(16, round(picture.width * scale)), max(16, round(picture.height * scale))
            grey = picture.reformat(width=2 * size[0], height=2 * size[1], format="gray").to_ndarray()
            grey = grey[: 2 * size[1], : 2 * size[0]].astype(np.float32)
            sharpness = _sharpness(grey)
            small = grey.reshape(size[1], 2, size[0], 2).mean((1, 3))
            # A video may change its size; what moved meanwhile isn't known then.
            motion = 0.0 if before is None or before.shape != small.shape else _shift(before, small)
            before, announced = small, picture.sa3d_total
            looks.append(Look(index, sharpness, motion))
            if len(looks) > MOST_FRAMES:
                raise CaptureError(f"{path.name} has more than {MOST_FRAMES} frames.", "Cut the video to one scene.")
            if index % 5 == 0:
                stage.total = max(float(index + 1), float(picture.sa3d_total))
                stage.at(index + 1)
            else:
                job.check()
        damaged = False
    if len(looks) < LEAST_PHOTOS:
        raise CaptureError(
            f"The video {path.name} has {len(looks)} frame{'' if len(looks) == 1 else 's'} that can be read, at least "
            f"{LEAST_PHOTOS} are needed.",
            "Choose a longer one, of ten seconds or more.",
        )
    if damaged or len(looks) < _WHOLE * announced:
        of = f" of its {announced}" if announced else ""
        return looks, [
            f"{path.name} is damaged or ends too early: {len(looks)}{of} frames could be read, and only these are "
            "used. Copy it again from where it was taken to have all."
        ]
    return looks, []


class _Damaged(Exception):
    """A video can't be read any further."""


class _Frame:
    """A decoded frame and how many the video says that it has."""

    def __init__(self, frame: Any, total: int) -> None:
        self._frame, self.sa3d_total = frame, total

    def __getattr__(self, name: str) -> Any:
        return getattr(self._frame, name)


def _decoded(path: Path) -> Iterator[tuple[int, Any, int]]:
    """(number, frame, quarter turns counter-clockwise that set it upright) of each frame in order.

    Raises _Damaged after the last frame that could be read of a video that is damaged further on.
    """
    try:
        import av
    except ImportError as error:
        raise EnvironmentFault(
            "Reading videos needs PyAV.", "Run `pip install av` in the engine's Python, or use photos."
        ) from error
    index = -1
    try:
        with av.open(str(path)) as video:
            if not video.streams.video:
                raise CaptureError(f"{path.name} holds no pictures.", "Choose a video.")
            stream = video.streams.video[0]
            stream.thread_type = "AUTO"
            total = stream.frames or 0
            for index, frame in enumerate(video.decode(stream)):
                turn = round(getattr(frame, "rotation", 0) / 90) % 4
                yield index, _Frame(frame, total), turn
    except av.error.InvalidDataError as error:
        if index + 1 >= LEAST_PHOTOS:
            raise _Damaged from error
        raise CaptureError(
            f"The video {path.name} can't be read: it is damaged, ends too early, or is no video.",
            "Copy it again from where it was taken, or use photos.",
        ) from error
    except av.error.FFmpegError as error:
        raise CaptureError(
            f"The video {path.name} can't be read: {str(error).split('] ')[-1].split(':')[0]}.",
            "Save it as MP4 (H.264), or use photos.",
        ) from error


def _sharpness(grey: np.ndarray) -> float:
    """The variance of the Laplacian, over the variance of the picture: a brighter scene isn't a sharper one."""
    laplacian = (
        4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    )  # fmt: skip
    return float(laplacian.var() / (grey.var() + 25.0))


def _shift(before: np.ndarray, after: np.ndarray) -> float:
    """By what share of its width the picture moved, by phase correlation (Kuglin and Hines, 1975).

    Parts of a pixel count: a slow walk moves less than one from frame to frame.
    """
    window = np.outer(np.hanning(before.shape[0]), np.hanning(before.shape[1]))
    cross = np.fft.rfft2((before - before.mean()) * window) * np.conj(np.fft.rfft2((after - after.mean()) * window))
    peaks = np.fft.irfft2(cross / (np.abs(cross) + 1e-6), s=before.shape)
    y, x = (int(i) for i in np.unravel_index(int(peaks.argmax()), before.shape))
    dy = y + _summit(peaks[y - 1, x], peaks[y, x], peaks[(y + 1) % before.shape[0], x])
    dx = x + _summit(peaks[y, x - 1], peaks[y, x], peaks[y, (x + 1) % before.shape[1]])
    dy, dx = min(abs(dy), before.shape[0] - dy), min(abs(dx), before.shape[1] - dx)
    return float(np.hypot(dx, dy) / max(before.shape))


def _summit(left: float, middle: float, right: float) -> float:
    """Where the parabola through three neighbours is highest, from -0.5 to 0.5 of their distance off the middle."""
    bend = left - 2 * middle + right
    return 0.0 if bend >= 0 else float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5))

"""Frames to a film: .mp4 (H.264) through PyAV, or an animated .webp, which keeps transparency, through Pillow."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from engine.cache import atomic_file
from sa3d_blender.protocol.errors import EnvironmentFault, StorageError

__all__ = ["FRAMES_A_SECOND", "check_film", "is_film", "write_film"]

FRAMES_A_SECOND = 24
FILMS = (".mp4", ".webp")
_OTHERS = (".mov", ".avi", ".mkv", ".webm", ".gif", ".m4v", ".mpg", ".png", ".jpg")
_QUALITY = "18"  # x264's constant rate factor: no loss that one sees


def is_film(path: Path) -> bool:
    """Whether a path names a file of frames, and not a folder. Raises StorageError for one of another format."""
    suffix = path.suffix.lower()
    if suffix in _OTHERS:
        raise StorageError(
            f"A turntable can't be written as {suffix}.", f"Name a folder or a file ending with {' or '.join(FILMS)}."
        )
    return suffix in FILMS


def check_film(path: Path) -> None:
    """Raises EnvironmentFault where the file's format needs what isn't installed."""
    if path.suffix.lower() == ".mp4" and importlib.util.find_spec("av") is None:
        raise EnvironmentFault(
            "Writing .mp4 needs PyAV.",
            "Run `pip install av` in the engine's Python, or name a .webp file or a folder for PNGs.",
        )


def write_film(frames: Iterable[np.ndarray], path: Path, frames_a_second: int = FRAMES_A_SECOND) -> Path:
    """Writes frames, uint8 [H, W, 4] with straight alpha, H and W even, as a film: whole or not at all.

    .mp4 knows no transparency: its frames are laid on white paper. Raises StorageError where it can't be written,
    EnvironmentFault where .mp4 needs what isn't installed.
    """
    check_film(path)
    with atomic_file(path) as temporary:
        if path.suffix.lower() == ".mp4":
            _write_mp4(frames, temporary, frames_a_second)
        else:
            _write_webp(frames, temporary, frames_a_second)
    return path


def on_white(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 4] with straight alpha on white paper, uint8 [H, W, 3]."""
    alpha = picture[..., 3:].astype(np.float32) / 255.0
    return np.round(picture[..., :3] * alpha + 255.0 * (1.0 - alpha)).astype(np.uint8)


def _write_mp4(frames: Iterable[np.ndarray], path: Path, frames_a_second: int) -> None:
    import av

    with av.open(str(path), "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=frames_a_second, options={"crf": _QUALITY})
        stream.pix_fmt = "yuv420p"  # the only one that every player shows
        rest = iter(frames)
        first = next(rest)
        stream.height, stream.width = first.shape[:2]
        for picture in itertools.chain([first], rest):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(on_white(picture), format="rgb24")))
        film.mux(stream.encode())


def _write_webp(frames: Iterable[np.ndarray], path: Path, frames_a_second: int) -> None:
    pictures = [Image.fromarray(picture) for picture in frames]
    pictures[0].save(
        path,
        format="WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 / frames_a_second),
        loop=0,
        quality=90,
    )

"""Big photos at working size, shrunk once: copies in the user's cache, found again by what the photos hold.

Photos that are far larger than they are looked at (`is_far_larger`) take up to seconds each to decode, their copies a
few milliseconds. A copy holds what `read_levels` gives, number by number: with or without it a photo has the very same
pixels, so nothing that is made of them depends on whether there was one.
"""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL

from engine.cache import Cache, atomic_file
from engine.captures.capture import View
from engine.captures.images import as_colours, of_mask, read_levels, read_rgb, working_key
from engine.captures.shrinking import is_far_larger
from sa3d_blender.protocol.errors import StorageError

__all__ = ["BUDGET_MB", "KIND", "PhotoCopies"]

KIND = "photos"  # the cache's name for these files
BUDGET_MB = 4096  # a photo of 1024 x 683 pixels takes 2 MB, one of 1600 x 1067 takes 5
FORMAT = "1"  # goes up with whatever changes pixels; another Pillow may decode otherwise, too
_CRC_BYTES = 4
_ROOM_FOR_HEADER = 4096
_MEGABYTE = 1 << 20


class PhotoCopies:
    """Reads photos and masks at a size, from copies where there are.

    Args:
        cache: where they are kept.
        log: hears of copies that are damaged or can't be kept; either costs time alone.
        budget_mb: room for all copies together; those that were not used for longest make way.
    """

    def __init__(
        self, cache: Cache, log: Callable[[str], None] = lambda line: None, budget_mb: int = BUDGET_MB
    ) -> None:
        self.cache, self.log, self.budget = cache, log, budget_mb * _MEGABYTE
        self._keeps = True  # until the disk refuses one

    def read(self, view: View, size: tuple[int, int]) -> np.ndarray:
        """read_rgb(view, size): float32 [H, W, 3 or 4]. Raises CaptureError as that does."""
        if not is_far_larger((view.camera.width, view.camera.height), size):
            return read_rgb(view, size)
        path = self._path(view, size)
        levels = self._found(path, size, view.name)
        if levels is None:
            levels = read_levels(view, size)
            self._keep(path, levels)
        return as_colours(levels)

    def read_mask(self, view: View, size: tuple[int, int]) -> np.ndarray:
        """read_mask(view, size): float32 [H, W]. Raises CaptureError as that does."""
        mask: np.ndarray = self.read(of_mask(view), size).mean(-1)
        return mask

    def key(self, view: View, max_side: int) -> str:
        """working_key(view, max_side), of hashes that are remembered."""
        return working_key(view, max_side, self.cache.photo_key)

    def _path(self, view: View, size: tuple[int, int]) -> Path:
        content = working_key(view, max(size), self.cache.photo_key)
        name = hashlib.sha256(f"{content}|{size[0]}x{size[1]}|{view.opaque}".encode()).hexdigest()[:32]
        return self.cache.root / KIND / f"{FORMAT}-{PIL.__version__}" / f"{name}.npy"

    def _found(self, path: Path, size: tuple[int, int], name: str) -> np.ndarray | None:
        """The copy; None where there is none, or (with a line in the log) a damaged one."""
        try:
            if path.stat().st_size > size[0] * size[1] * 8 + _ROOM_FOR_HEADER:
                raise ValueError("it is too long")
            levels = _unpacked(path.read_bytes())
            if levels.shape[:2] != size[::-1]:
                raise ValueError("it has another size")
            os.utime(path)  # used now
        except FileNotFoundError:
            return None
        except (OSError, ValueError, MemoryError) as error:
            self.log(f"The small copy of {name} is damaged ({error}); it is made again.")
            return None
        return levels

    def _keep(self, path: Path, levels: np.ndarray) -> None:
        if not self._keeps:
            return
        try:
            folder = self.cache.folder(KIND, path.parent.name)
            packed = _packed(levels)
            self.cache.make_room(KIND, len(packed), self.budget)
            with atomic_file(folder / path.name) as part:
                part.write_bytes(packed)
        except StorageError as fault:
            self._keeps = False
            self.log(f"Warning: {fault.what} Small copies of the photos aren't kept, so they are shrunk each time.")


def _packed(levels: np.ndarray) -> bytes:
    """A .npy file with the CRC of its bytes at its end."""
    file = io.BytesIO()
    np.save(file, levels, allow_pickle=False)
    return file.getvalue() + zlib.crc32(file.getbuffer()).to_bytes(_CRC_BYTES, "little")


def _unpacked(packed: bytes) -> np.ndarray:
    """What was packed. Raises ValueError where a byte of it has changed."""
    body, crc = memoryview(packed)[:-_CRC_BYTES], packed[-_CRC_BYTES:]
    if not body or zlib.crc32(body) != int.from_bytes(crc, "little"):
        raise ValueError("its checksum is wrong")
    levels: np.ndarray = np.load(io.BytesIO(body), allow_pickle=False)
    return levels

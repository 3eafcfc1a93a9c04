"""The hashes of photos' bytes, remembered: hundreds of big photos take longer to hash than to look up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.captures.images import photo_key
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["MOST", "PhotoHashes"]

MOST = 50_000  # photos and masks: some 10 MB of JSON


class PhotoHashes:
    """Keys of photos' content by path, size and time.

    Args:
        remembered: what ``marks`` was before, in the same order.
    """

    def __init__(self, remembered: Mapping[str, str]) -> None:
        self.marks = dict(remembered)
        self.changed = False

    def key(self, path: Path, name: str = "") -> str:
        """photo_key of the file, hashed only if it isn't remembered as it is now; ``name`` is what errors call it.

        Raises CaptureError where it is gone.
        """
        try:
            stat, place = path.stat(), path.resolve()
        except OSError as error:
            raise CaptureError(
                f"The photo {name or path.name} can't be read: {error.strerror}.",
                "Put it back, or load the capture again.",
            ) from error
        mark = f"{place}|{stat.st_size}|{stat.st_mtime_ns}"
        if mark not in self.marks:
            self.marks[mark] = photo_key(path)
            self.changed = True
            while len(self.marks) > MOST:  # the first are the oldest
                del self.marks[next(iter(self.marks))]
        return self.marks[mark]

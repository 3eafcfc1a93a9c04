"""The user's cache: trained fields and image work, keyed by content, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import platformdirs
from safetensors import SafetensorError

from engine.captures.capture import Capture
from engine.photo_hashes import PhotoHashes
from sa3d_blender.protocol.errors import StorageError

LEFTOVER = ".partial-"
CURE = "Choose another folder (--cache, --out, or in the add-on's preferences), or mend its permissions."
STALE_SECONDS = 24 * 3600.0
PHOTO_HASHES = "photo-hashes.json"
# What a process here is writing is named after it, so that the next one knows whether anybody still is.
_MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
# Marks a folder as a cache, for clear() and for programs that make backups (bford.info/cachedir).
TAG = "CACHEDIR.TAG"
TAG_TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# What sa3d can make again.\n"


def cache_root(option: Path | None = None) -> Path:
    """The cache folder: the option, else ``SA3D_CACHE``, else the user's cache directory."""
    if option is not None:
        return option.expanduser().absolute()
    named = os.environ.get("SA3D_CACHE")
    return Path(named).expanduser().absolute() if named else Path(platformdirs.user_cache_dir("sa3d"))


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns what the disk says into a sentence: full, read-only, not allowed."""
    shown = next((each.parent for each in (path, *path.parents) if each.name.startswith(LEFTOVER)), path)
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(shown) from error
        reason = error.strerror or str(error)
        raise StorageError(f"Can't write {shown}: {reason}.", CURE) from error
    except SafetensorError as error:  # which is how that library says what the disk says
        if f"os error {errno.ENOSPC}" in str(error) or "No space left" in str(error):
            raise _full(shown) from error
        raise StorageError(f"Can't write {shown}: {error}.", CURE) from error


def _full(path: Path) -> StorageError:
    return StorageError(f"The disk that holds {path} is full.", "Free some space, then run again.")


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to ``path`` at the end, removed after an error.

    Raises:
        StorageError: the disk is full or the folder can't be written.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=temporary_prefix(), suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def temporary_prefix() -> str:
    """What the name of a file begins with while this process writes it."""
    return f"{LEFTOVER}{_MACHINE}-{os.getpid()}-"


@contextlib.contextmanager
def scratch_folder(cache: Path) -> Iterator[Path]:
    """A folder in the cache for what is thrown away; were we killed, the cache's tidying removes it.

    Raises:
        StorageError: the cache can't be written.
    """
    with storage_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=temporary_prefix(), dir=cache))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(folder: Path, pattern: str = "") -> None:
    """Removes what killed runs were writing in a folder, or in those folders of it that fit ``pattern`` ("*/").

    What a process that runs here writes stays, and for a day what one on another machine may be writing.
    """
    for leftover in folder.glob(f"{pattern}{LEFTOVER}*"):
        with contextlib.suppress(FileNotFoundError):  # another program does the same
            if _is_abandoned(leftover):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _is_abandoned(leftover: Path) -> bool:
    machine, _, rest = leftover.name.removeprefix(LEFTOVER).partition("-")
    number = rest.partition("-")[0]
    if os.name == "posix" and machine == _MACHINE and number.isdigit():
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            return False
        return False
    return time.time() - leftover.stat().st_mtime > STALE_SECONDS


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, value: object) -> None:
    """Writes JSON whole or not at all; numbers that aren't finite become null, as JSON has none."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(_finite(value), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


class Cache:
    """Folders under one root, named by kind and content.

    Args:
        root: made when something is first written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._hashes: PhotoHashes | None = None

    def folder(self, kind: str, key: str) -> Path:
        """The (existing) folder for one thing of a kind; leftovers of killed runs in it are removed."""
        path = self.root / kind / key
        with storage_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            tag = path.parent / TAG
            if not tag.exists():
                tag.write_text(TAG_TEXT, encoding="utf-8")
            remove_leftovers(path)
        return path

    def tidy(self) -> None:
        """Removes what killed runs left half-written. Nothing happens to a cache that can't be written."""
        with contextlib.suppress(OSError):
            for pattern in ("", "*/", "*/*/"):
                remove_leftovers(self.root, pattern)

    def capture_key(self, capture: Capture) -> str:
        """Names the content of a capture: cameras and photos, not where they lie.

        Hashes are remembered by size and time. Raises CaptureError where a photo has gone since the capture was read.
        """
        digest = hashlib.sha256()
        self._recall()
        for view in capture.views:
            photo = self.photo_key(view.image_path, view.name)
            mask = None if view.mask_path is None else self.photo_key(view.mask_path)
            c = view.camera
            numbers = [c.width, c.height, c.fl_x, c.fl_y, c.cx, c.cy, *c.distortion]
            digest.update(f"{view.name}|{view.split}|{c.model}|{photo}|".encode())
            if mask is not None:
                digest.update(f"mask|{view.silhouette}|{mask}|".encode())
            digest.update(np.array(numbers, np.float64).tobytes())
            digest.update(np.asarray(c.world_from_camera, np.float64).tobytes())
            # The scene's box, and with it the field, depends on it.
            if view.near_far is not None:
                digest.update(np.array(view.near_far, np.float64).tobytes())
        if capture.points is not None:  # likewise
            digest.update(np.asarray(capture.points.xyz, np.float64).tobytes())
            digest.update(np.asarray(capture.points.count, np.int32).tobytes())
        self.keep_hashes()
        return digest.hexdigest()[:32]

    def photo_key(self, path: Path, name: str = "") -> str:
        """photo_key of a photo's or mask's file, remembered by its size and time; ``name`` is what errors call it.

        Raises CaptureError where it is gone.
        """
        hashes = self._recall() if self._hashes is None else self._hashes
        return hashes.key(path, name)

    def keep_hashes(self) -> None:
        """Writes down what photo_key has hashed since. Raises StorageError where the cache can't be written."""
        if self._hashes is not None and self._hashes.changed:
            write_json(self.root / PHOTO_HASHES, self._hashes.marks)
            self._hashes.changed = False

    def _recall(self) -> PhotoHashes:
        """What is written down by now, by other programs too, and what was hashed here."""
        written = _remembered(self.root / PHOTO_HASHES)
        known = written if self._hashes is None else {**written, **self._hashes.marks}
        self._hashes = PhotoHashes(known)
        self._hashes.changed = len(known) > len(written)
        return self._hashes

    def make_room(self, kind: str, wanted: int, budget: int) -> None:
        """Removes files of a kind, those first that were not touched for longest, until ``budget`` bytes hold what is
        there and ``wanted`` more."""
        kept = []
        for path in (self.root / kind).glob("*/*"):
            if path.name.startswith(LEFTOVER):
                continue
            try:
                found = path.stat()
            except FileNotFoundError:
                continue  # another program has just made room
            kept.append((found.st_mtime, found.st_size, path))
        used = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if used + wanted <= budget:
                return
            path.unlink(missing_ok=True)
            used -= size

    def size_bytes(self) -> int:
        """Bytes of all that is cached."""
        return sum(p.stat().st_size for p in self.root.rglob("*") if p.is_file()) if self.root.exists() else 0

    def clear(self) -> None:
        """Removes what folder() made and the remembered hashes. Weights and files of other programs stay."""
        if not self.root.exists():
            return
        with storage_errors(self.root):
            for tag in self.root.glob(f"*/{TAG}"):
                shutil.rmtree(tag.parent)
            (self.root / PHOTO_HASHES).unlink(missing_ok=True)
            self._hashes = None


def _remembered(memo_path: Path) -> dict[str, str]:
    """The hashes written there. It is only a memory: where it is damaged they are made again."""
    try:
        found = json.loads(memo_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {mark: key for mark, key in found.items() if isinstance(key, str)}

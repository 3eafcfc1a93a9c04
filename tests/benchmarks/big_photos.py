"""How long hundreds of big photos take to be read at working size, and how much memory, by kind: prints JSON.

    python tests/benchmarks/big_photos.py [--photos 4] [--width 8660] [--height 5774] [--side 1024] [--kinds jpeg,...]

Writes that many photos of a kind (50 megapixels by default) into a temporary folder, then reads them as training does
in a process of its own: without copies, for the first time with copies in a cache, and once more. The peak is that
process's resident memory, less what it had before the first photo.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

FAST = {"compress_level": 1}  # of PNGs: what they take to be written isn't measured


def _deep(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


# how a photo becomes one of a kind, its suffix, and how it is saved
KINDS: dict[str, tuple[Callable[[Image.Image], Image.Image], str, dict[str, object]]] = {
    "jpeg": (lambda image: image.convert("RGB"), ".jpg", {"quality": 92}),
    "progressive jpeg": (lambda image: image.convert("RGB"), ".jpg", {"quality": 92, "progressive": True}),
    "png": (lambda image: image.convert("RGB"), ".png", FAST),
    "png with opacity": (lambda image: image, ".png", FAST),
    "png with a palette": (lambda image: image.convert("P"), ".png", FAST),
    "png in 16-bit grey": (_deep, ".png", FAST),
    "tiff": (lambda image: image.convert("RGB"), ".tif", {}),
    "deflated tiff": (lambda image: image.convert("RGB"), ".tif", {"compression": "tiff_adobe_deflate"}),
    "webp": (lambda image: image.convert("RGB"), ".webp", {"quality": 60, "method": 0}),
    "jpeg and a mask": (lambda image: image.convert("RGB"), ".jpg", {"quality": 92}),
}


def write_photos(folder: Path, kind: str, count: int, width: int, height: int) -> None:
    """Smooth colours with noise, so that they are neither trivial to decode nor larger than real photos."""
    random = np.random.default_rng(0)
    tile = Image.fromarray(random.integers(0, 256, (height // 8, width // 8, 4), np.uint8)).resize((width, height))
    made, suffix, saved = KINDS[kind]
    for i in range(count):
        made(tile.rotate(180 * (i % 2))).save(folder / f"{i:04d}{suffix}", **saved)
    if kind.endswith("mask"):
        tile.getchannel("A").save(folder / "mask.png", **FAST)


def peak_mb() -> float:
    """The largest resident memory that this process has had, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's getrusage counts what the parent had at the fork
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def read_photos(folder: Path, side: int, cached: bool) -> dict[str, float]:
    """Reads each photo of the folder at working size and drops it."""
    from engine.cache import Cache
    from engine.captures.capture import Camera, View
    from engine.captures.images import photo_header
    from engine.photo_copies import PhotoCopies
    from engine.workspace import working_photo

    mask = folder / "mask.png"
    paths = [path for path in sorted(folder.iterdir()) if path.is_file() and path != mask]
    before, started = peak_mb(), time.perf_counter()
    copies = PhotoCopies(Cache(folder / "cache")) if cached else None
    for path in paths:
        head = photo_header(path)
        size = head.width, head.height
        camera = Camera(*size, size[0], size[0], size[0] / 2, size[1] / 2, np.eye(4))
        view = View(path.name, path.stem, path, camera)
        if mask.exists():
            view = replace(view, mask_path=mask, silhouette=True)
        working_photo(view, side, copies)
    if copies is not None:
        copies.cache.keep_hashes()
    seconds = time.perf_counter() - started
    return {"seconds_per_photo": round(seconds / len(paths), 4), "peak_mb": round(peak_mb() - before)}


def measured(kind: str, given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The figures of one kind."""
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), kind, given.photos, given.width, given.height)
        words = [sys.executable, __file__, "--read", folder, "--side", str(given.side)]

        def run(*more: str) -> dict[str, float]:
            found: dict[str, float] = json.loads(
                subprocess.run([*words, *more], check=True, capture_output=True, text=True).stdout
            )
            return found

        return {"without copies": run(), "first time": run("--cached"), "again": run("--cached")}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--photos", type=int, default=4)
    options.add_argument("--width", type=int, default=8660)
    options.add_argument("--height", type=int, default=5774)
    options.add_argument("--side", type=int, default=1024)
    options.add_argument("--kinds", default=",".join(KINDS))
    options.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--cached", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.read is not None:
        print(json.dumps(read_photos(given.read, given.side, given.cached)))
        return
    found = {kind: measured(kind, given) for kind in given.kinds.split(",")}
    megapixels = round(given.width * given.height / 1e6, 1)
    print(json.dumps({"photos": given.photos, "megapixels": megapixels, "side": given.side, "kinds": found}, indent=2))


if __name__ == "__main__":
    main()

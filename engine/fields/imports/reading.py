"""Checkpoints of other programs (`torch.save`), read without running what they name and without believing their sizes.

Such a file is a zip archive of raw numbers and one pickle that says how they belong together. A pickle may call
anything that can be imported, so the names in it are looked at first, without unpickling, and one that isn't on a short
list ends the matter; PyTorch's restricted unpickler then does the work with no more than that list. Raw numbers are
mapped from the file rather than read, and nothing is copied before its shape and its true size are known.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sa3d_blender.protocol.errors import FieldError

__all__ = ["CURE", "Claims", "Numbers", "entries", "read_checkpoint", "refusal"]

CURE = "Give a checkpoint of TensoRF (.th, TensorVMSplit) or DirectVoxGO (.tar), or train a field with `sa3d train`."
PICKLE_BYTES = 1 << 22  # such a pickle holds names and shapes: some kilobytes
MOST_NODES = 512**3  # of a grid: half a gigabyte as a density volume
MOST_SIDE = 4096

_TENSORS = (
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.Size",
    *(f"torch.{kind}Storage" for kind in ("Float", "Double", "Half", "Long", "Int", "Short", "Char", "Byte", "Bool")),
)
_CONTAINERS = ("collections.OrderedDict", "_codecs.encode")  # the latter is how bytes are written
_NUMPY = [f"{home}.{name}" for home in ("numpy.core.multiarray", "numpy._core.multiarray") for name in ("scalar",)]
_ARRAYS = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
# DirectVoxGO's settings come from mmcv, and dictionaries in them are of its class: plain ones will do here.
_SETTINGS = ("mmcv.utils.config.ConfigDict", "mmengine.config.config.ConfigDict", "addict.addict.Dict")
_NAMED = frozenset({*_TENSORS, *_CONTAINERS, *_NUMPY, *_ARRAYS, *_SETTINGS, "numpy.ndarray", "numpy.dtype"})
_OTHER_WAYS_TO_NAME = frozenset({"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"})

_DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    OSError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    OverflowError,
    MemoryError,
    RuntimeError,
)


def refusal(what: str, cure: str = CURE) -> FieldError:
    """A refusal to import, in one sentence and with what to do."""
    return FieldError(what, cure)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The dictionary in a checkpoint that `torch.save` wrote, tensors mapped from the file, on the CPU.

    Raises:
        FieldError: there is none, it is cut short or damaged, or its pickle asks for more than numbers.
    """
    if not path.is_file():
        raise refusal(f"There is no checkpoint {path}.", "Check the path given with --from.")
    try:
        foreign = _foreign_names(_pickle_of(path))
        if foreign:
            raise refusal(
                f"{path.name} is not read: it asks to run code ({', '.join(sorted(foreign)[:3])}).",
                "Get the checkpoint from a source that you trust; what the authors' programs write holds numbers only.",
            )
        with torch.serialization.safe_globals(_allowed()):
            found = torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except _DAMAGE as error:
        told = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
        raise refusal(f"{path.name} is cut short or damaged ({told}).", "Copy or download it again.") from error
    if not isinstance(found, dict):
        raise refusal(f"{path.name} holds no checkpoint but a {type(found).__name__}.")
    return entries(found)


def entries(found: Any) -> dict[str, Any]:
    """What is in a dictionary of a file, by text; nothing where it is none.

    (A file may hang anything under the name of a method on it, so none of its own is called.)
    """
    return {str(key): value for key, value in dict.items(found)} if isinstance(found, dict) else {}


def _pickle_of(path: Path) -> bytes:
    """The pickle in a checkpoint's archive."""
    if not zipfile.is_zipfile(path):
        raise refusal(
            f"{path.name} is no checkpoint that PyTorch 1.6 or later wrote, or it was cut short.",
            "Copy or download it again; an older file has to be loaded and saved by a newer PyTorch first.",
        )
    with zipfile.ZipFile(path) as archive:
        inside = archive.infolist()
        pickles = [entry for entry in inside if entry.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise refusal(f"{path.name} is no checkpoint of PyTorch but another archive.")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in inside):  # PyTorch never compresses
            raise refusal(f"{path.name} was packed by another program than PyTorch.")
        if pickles[0].file_size > PICKLE_BYTES:
            raise refusal(f"{path.name} holds {pickles[0].file_size} bytes of structure, far more than a field needs.")
        return archive.read(pickles[0])


def _foreign_names(pickled: bytes) -> set[str]:
    """What a pickle would import beyond what is needed for numbers."""
    found = set()
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name == "GLOBAL":
            name = str(argument).replace(" ", ".")
            if name not in _NAMED:
                found.add(name)
        elif operation.name in _OTHER_WAYS_TO_NAME:
            found.add(f"by {operation.name}")
    return found


def _empty_array(*_: object) -> np.ndarray:
    """An array that its state fills: the size asked for here would be taken on trust."""
    return np.zeros(0, np.uint8)


def _allowed() -> list[Any]:
    """What the restricted unpickler may use beyond its own list, which is PyTorch's tensors and containers."""
    kinds = (np.bool_, np.uint8, np.int8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64)
    return [
        np.ndarray,
        np.dtype,
        *(type(np.dtype(kind)) for kind in kinds),
        *((_scalar(), name) for name in _NUMPY),
        *((_empty_array, name) for name in _ARRAYS),
        *((OrderedDict, name) for name in _SETTINGS),
    ]


def _scalar() -> Any:
    return np.float64(0).__reduce__()[0]  # numpy's function for it, which has moved between versions


class Claims:
    """What a checkpoint says of itself, value by value, checked.

    Args:
        values: by name. file: its name, for people.
    """

    def __init__(self, values: Any, file: str) -> None:
        self._values, self._file = entries(values), file

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str | None = None) -> str:
        """A word."""
        value = self._values.get(name, default)
        if not isinstance(value, str):
            raise self._odd(name, value)
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """Yes or no."""
        return bool(self._one(name, default))

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        return self._whole(name, self._one(name), low, high)

    def number(self, name: str, low: float, high: float) -> float:
        """A number from ``low`` to ``high``."""
        value = self._one(name)
        if not low <= value <= high:
            raise self._odd(name, value)
        return value

    def three(self, name: str, low: int, high: int) -> tuple[int, int, int]:
        """Three whole numbers from ``low`` to ``high``."""
        value = self._values.get(name)
        if not isinstance(value, list | tuple) or len(value) != 3:
            raise self._odd(name, value)
        x, y, z = (self._whole(name, _plain(each), low, high) for each in value)
        return x, y, z

    def grid(self, name: str) -> tuple[int, int, int]:
        """The nodes of a grid along x, y, z, not more than can be worked with."""
        x, y, z = self.three(name, 2, MOST_SIDE)
        return check_nodes((x, y, z), self._file)

    def corner(self, name: str) -> Float[Tensor, " 3"]:
        """A point."""
        value = self._values.get(name)
        if isinstance(value, np.ndarray) and value.shape == (3,) and value.dtype.kind in "fiu":
            return torch.from_numpy(value.astype(np.float32))
        if isinstance(value, Tensor) and value.shape == (3,):
            return value.float().clone()
        if isinstance(value, list | tuple) and len(value) == 3:
            return torch.tensor([_plain(each) for each in value], dtype=torch.float32)
        raise self._odd(name, value)

    def odd(self, name: str) -> FieldError:
        """The refusal of a value that makes no sense."""
        return self._odd(name, self._values.get(name))

    def _one(self, name: str, default: float | None = None) -> float:
        if name not in self._values and default is not None:
            return default
        value = _plain(self._values.get(name))
        if np.isnan(value):
            raise self._odd(name, self._values.get(name))
        return value

    def _whole(self, name: str, value: float, low: int, high: int) -> int:
        if not low <= value <= high or value != int(value):
            raise self._odd(name, value)
        return int(value)

    def _odd(self, name: str, value: Any) -> FieldError:
        shown = f"{value!r}"[:60] if isinstance(value, str | int | float | list | tuple) else type(value).__name__
        return refusal(f"{self._file} can't be imported: its setting {name} is {shown}.")


def _plain(value: Any) -> float:
    """A number as Python has it, NaN where it is none."""
    if isinstance(value, bool | int | float | np.number | np.bool_):
        return float(value)
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value)
    return float("nan")


def check_nodes(shape: tuple[int, int, int], file: str) -> tuple[int, int, int]:
    """The same shape. Raises FieldError where a grid of it is too large to work with, or too small to be one."""
    x, y, z = shape
    if min(shape) < 2 or max(shape) > MOST_SIDE or x * y * z > MOST_NODES:
        raise refusal(
            f"{file} can't be imported: it claims a grid of {x} x {y} x {z} nodes, beyond {MOST_NODES} in all.",
            "Train it again with fewer voxels, or train a field with `sa3d train`.",
        )
    return shape


def check_box(aabb: Float[Tensor, "2 3"], file: str) -> Float[Tensor, "2 3"]:
    """The same box. Raises FieldError where it has no inside."""
    if not bool(torch.isfinite(aabb).all()) or not bool((aabb[1] - aabb[0] > 1e-6).all()):
        raise refusal(f"{file} can't be imported: its box {aabb.tolist()} has no inside.")
    return aabb


class Numbers:
    """The tensors of a checkpoint, taken one by one, each of the shape that it has to have.

    Args:
        state: by name. file: its name, for people.
    """

    def __init__(self, state: Any, file: str) -> None:
        self._left, self._file = entries(state), file

    @property
    def names(self) -> set[str]:
        """Of what is left."""
        return set(self._left)

    def shape(self, name: str) -> tuple[int, ...]:
        """That of a tensor, or () where there is none."""
        found = self._left.get(name)
        return tuple(found.shape) if isinstance(found, Tensor) else ()

    def take(self, name: str, *shape: int) -> Tensor:
        """A float32 tensor of that shape, a copy that no longer needs the file.

        Raises:
            FieldError: it isn't there, has another shape, holds less than it claims, or isn't finite.
        """
        found = self._checked(name, shape)
        copy = found.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        if not bool(torch.isfinite(copy).all()):
            raise refusal(f"{self._file} can't be imported: {name} holds numbers that aren't finite.")
        return copy

    def take_flags(self, name: str, *shape: int) -> Tensor:
        """A bool tensor of that shape, likewise."""
        return self._checked(name, shape).detach() != 0

    def done(self, *ignored: str) -> None:
        """Raises FieldError where tensors are left that a field of this kind doesn't have."""
        left = sorted(self._left.keys() - set(ignored))
        if left:
            raise refusal(f"{self._file} can't be imported: it holds {left[0]}, which this kind of field doesn't have.")

    def _checked(self, name: str, shape: tuple[int, ...]) -> Tensor:
        found = self._left.pop(name, None)
        if not isinstance(found, Tensor) or found.layout != torch.strided or found.is_complex():
            raise refusal(f"{self._file} can't be imported: it has no {name}.")
        if tuple(found.shape) != shape:
            raise refusal(
                f"{self._file} can't be imported: {name} has the shape {list(found.shape)}, not {list(shape)} as its "
                "settings say."
            )
        if found.numel() * found.element_size() > found.untyped_storage().nbytes():
            raise refusal(f"{self._file} can't be imported: {name} claims more numbers than the file holds.")
        return found

"""Runs the file of a click model: ONNX through onnxruntime, TorchScript through torch."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from engine.segmenters.click_description import CHANNELS, ClickModel
from sa3d_blender.protocol.errors import EnvironmentFault, SegmenterError

__all__ = ["ClickRuntime", "load_click_runtime"]

ONNX_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
CURE = "Export the model as its description says, or correct the description (docs/click-models.md)."


@runtime_checkable
class ClickRuntime(Protocol):
    """A loaded model file."""

    def run(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """The described output for float32 inputs in the described order. Raises SegmenterError."""
        ...


def load_click_runtime(
    path: Path,
    model: ClickModel,
    device: str,
    sha256: str | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> ClickRuntime:
    """Loads ``path`` after comparing its ``sha256``, where one is given; what was compared is what is loaded.

    A TorchScript file is a program. It is loaded only because the user named it, and ``log`` says so; nothing in this
    project looks for such files by itself.

    Raises:
        SegmenterError: the file can't be read, is another one, is no model, or doesn't fit its description.
        EnvironmentFault: onnxruntime is missing.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SegmenterError(
            f"The click model {path} can't be read: {error.strerror}.", "Check the path, or the description's file."
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256:
        raise SegmenterError(
            f"The click model {Path(path).name} is not the described one: its sha256 is {digest[:12]}...",
            "Get the file anew; correct sha256 only if you trust where the file comes from.",
        )
    if Path(path).suffix.lower() == ".onnx":
        return _Onnx(Path(path), content, model, device, log)
    log(f"{Path(path).name} is TorchScript, which is program code: it is loaded because you named it.")
    return _TorchScript(Path(path), content, model, device)


class _Onnx:
    def __init__(self, path: Path, content: bytes, model: ClickModel, device: str, log: Callable[[str], None]) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise EnvironmentFault(
                "The package onnxruntime is not installed.",
                'Install it (pip install "sa3d-blender[onnx]"), or export the click model to TorchScript.',
            ) from error
        providers = ["CPUExecutionProvider"]
        if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
        elif device != "cpu":
            log(f"The click model {path.name} runs on the CPU: this onnxruntime can't use {device}.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # failures are raised, they needn't be printed as well
        self._file = path.name
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=providers)
        except Exception as error:  # onnxruntime has a class of its own for each kind of broken file
            raise _no_model(path.name, "an ONNX model", error) from error
        given = {each.name: each for each in self._session.get_inputs()}
        names = [each.name for each in model.inputs]
        if set(given) != set(names):
            raise SegmenterError(
                f"The click model {path.name} has the inputs {', '.join(given)}; described are {', '.join(names)}.",
                CURE,
            )
        axis = model.layout.index("C")
        for each in model.inputs:
            shape, channels = given[each.name].shape, sum(CHANNELS[c] for c in each.channels)
            if len(shape) != 4 or (isinstance(shape[axis], int) and shape[axis] != channels):
                raise SegmenterError(
                    f"The click model {path.name} wants {each.name} as {shape}; described are {channels} channels as "
                    f"{model.layout}.",
                    CURE,
                )
            if given[each.name].type not in ONNX_TYPES:
                raise SegmenterError(
                    f"The click model {path.name} wants {each.name} as {given[each.name].type}, not as floats.", CURE
                )
        outputs = [each.name for each in self._session.get_outputs()]
        if model.output and model.output not in outputs:
            raise SegmenterError(
                f"The click model {path.name} has no output {model.output}, only {', '.join(outputs)}.", CURE
            )
        self._inputs = [(name, ONNX_TYPES[given[name].type]) for name in names]
        self._output = model.output or outputs[0]

    def run(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        feed = {name: each.astype(kind) for (name, kind), each in zip(self._inputs, inputs, strict=True)}
        try:
            found = self._session.run([self._output], feed)[0]
        except Exception as error:
            raise _failed(self._file, error) from error
        if not isinstance(found, np.ndarray):
            raise SegmenterError(f"The click model {self._file} gave no array.", CURE)
        return found.astype(np.float32)


class _TorchScript:
    def __init__(self, path: Path, content: bytes, model: ClickModel, device: str) -> None:
        self._file, self._device, self._output = path.name, device, model.output
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit lives on, its successor is announced
                self._module: Any = torch.jit.load(io.BytesIO(content), map_location=device).eval()
        except (RuntimeError, ValueError) as error:
            raise _no_model(path.name, "a TorchScript model", error) from error
        wanted = len(self._module.forward.schema.arguments) - 1  # the first is the module itself
        if wanted != len(model.inputs):
            raise SegmenterError(
                f"The click model {path.name} takes {wanted} inputs; described are {len(model.inputs)}.", CURE
            )

    def run(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        tensors = [torch.from_numpy(np.ascontiguousarray(each)).to(self._device) for each in inputs]
        try:
            with torch.inference_mode():
                found = self._module(*tensors)
        except (RuntimeError, torch.jit.Error, TypeError, ValueError) as error:
            raise _failed(self._file, error) from error
        if isinstance(found, dict):
            if self._output not in found:
                raise SegmenterError(
                    f'The click model {self._file} has no output "{self._output}", only {", ".join(map(str, found))}.',
                    CURE,
                )
            found = found[self._output]
        elif isinstance(found, tuple | list) and found:
            found = found[0]
        if not isinstance(found, torch.Tensor):
            raise SegmenterError(f"The click model {self._file} gave no tensor.", CURE)
        return found.to("cpu", torch.float32).numpy()


def _no_model(file: str, what: str, error: Exception) -> SegmenterError:
    return SegmenterError(f"The click model {file} can't be read as {what}: {_first_line(error)}", "Export it anew.")


def _failed(file: str, error: Exception) -> SegmenterError:
    return SegmenterError(f"The click model {file} failed on its inputs: {_first_line(error)}", CURE)


def _first_line(error: Exception) -> str:
    """The line of an error that says most: TorchScript puts its own trace before the error, after "RuntimeError:"."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("RuntimeError: ", "torch.jit.Error: "))]
    return (telling or lines or [type(error).__name__])[0][:300]

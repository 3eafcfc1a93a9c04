"""A training in progress on disk, so that a cancelled or killed one goes on where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import safetensors
from safetensors.torch import save_file

from engine.cache import atomic_file
from engine.fields.trainer import State, Trainer
from sa3d_blender.protocol.errors import StorageError

NAME = "training.safetensors"
FORMAT = "sa3d-training-1"
SECONDS_BETWEEN = 15.0


class Keeper:
    """Keeps the last good state of a trainer in one file, written whole or not at all.

    Args:
        folder: where. fingerprint: of photos, settings, kind and seed; a state with another one is not taken up.
        log: told once where the disk doesn't take it: the training goes on without.
    """

    def __init__(self, folder: Path, fingerprint: str, log: Callable[[str], None]) -> None:
        self.path, self.fingerprint, self.log = folder / NAME, fingerprint, log
        self._last = time.monotonic()
        self._kept = 0
        self._told = False

    def offer(self, trainer: Trainer, now: bool = False) -> None:
        """Writes the trainer's last good state, if it is a new one and (unless ``now``) some seconds have passed."""
        step = trainer.good.meaning["step"]
        if step <= self._kept or not (now or time.monotonic() - self._last >= SECONDS_BETWEEN):
            return
        try:
            self._write(trainer.good)
        except StorageError as error:
            if not self._told:
                self.log(f"Warning: {error.what} Training goes on, but couldn't be resumed.")
            self._told = True
        else:
            self._kept = step
        self._last = time.monotonic()

    def take_up(self, trainer: Trainer) -> bool:
        """Puts the trainer where the file says; whether there was one for it."""
        if not self.path.is_file():
            return False
        try:
            with safetensors.safe_open(self.path, framework="pt") as file:
                meaning = json.loads(file.metadata()["meaning"])
                if (meaning.pop("format"), meaning.pop("fingerprint")) != (FORMAT, self.fingerprint):
                    self.log("An earlier training here was of other photos or settings: beginning anew.")
                    return False
                trainer.restore(State({name: file.get_tensor(name) for name in file.keys()}, meaning))  # noqa: SIM118
        except (OSError, LookupError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self.log(f"Warning: the earlier training in {self.path} is damaged ({reason}): beginning anew.")
            return False
        self._kept = trainer.step
        return True

    def forget(self) -> None:
        """Removes the file: the training is over."""
        self.path.unlink(missing_ok=True)

    def _write(self, state: State) -> None:
        meaning = json.dumps(dict(state.meaning) | {"format": FORMAT, "fingerprint": self.fingerprint})
        tensors = {name: value.cpu().contiguous() for name, value in state.tensors.items()}
        with atomic_file(self.path) as temporary:
            save_file(tensors, temporary, {"meaning": meaning})

"""What tests of the evaluation share: a cache with a small field of the tiny capture, trained once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_capture import TinyCapture

from engine.captures.load import load_capture
from engine.fields.settings import PRESETS
from engine.options import Options
from engine.progress import Job
from engine.train import train

SMALL = replace(PRESETS["draft"], steps=450, rays=1024, sides=(32, 48), upsample_at=(100,))


@pytest.fixture(scope="session")
def cache_with_field(tiny_capture: TinyCapture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with a field of the tiny capture, trained by the settings SMALL."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "draft", SMALL)
        train(load_capture(tiny_capture.folder), "draft", Options(folder, "cpu"), Job())
    return folder


@pytest.fixture(scope="module")
def cache(cache_with_field: Path) -> Iterator[Path]:
    """The cache with the small field; as long as it is in use, the draft preset means that field."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "draft", SMALL)
        yield cache_with_field

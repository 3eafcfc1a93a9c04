"""What every test may use: shape and type checks in the engine, the shared captures, a tiny capture with its truth."""

from __future__ import annotations

import os
import typing
from pathlib import Path

import jaxtyping
import pytest

# Before anything imports the engine: modules that are imported already stay unchecked.
jaxtyping.install_import_hook("engine", "runtime_checks.checked")

from tiny_capture import TinyCapture, write_tiny_capture  # noqa: E402

from engine.fields.base import RadianceField  # noqa: E402
from engine.segmenters.base import Segmenter  # noqa: E402

# What is annotated with a protocol can be checked only where the protocol allows isinstance.
for _protocol in (RadianceField, Segmenter):
    typing.runtime_checkable(_protocol)

ROOT = Path(__file__).resolve().parents[1]
CAPTURES = Path(os.environ.get("SA3D_CAPTURES", ROOT.parent / "shared" / "captures"))


class RootIsNoPackage:
    """Keeps pytest from importing the ``__init__.py`` that Blender wants at the root.

    It would import it by the checkout's name, and so fail wherever that is no name in Python ("sa3d-blender").
    """

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(RootIsNoPackage())


@pytest.fixture(scope="session")
def captures_dir() -> Path:
    """The folder of the shared captures; the test is skipped where there is none."""
    if not CAPTURES.is_dir():
        pytest.skip(f"no shared captures at {CAPTURES} (set SA3D_CAPTURES)")
    return CAPTURES


@pytest.fixture(scope="session")
def tiny_capture(tmp_path_factory: pytest.TempPathFactory) -> TinyCapture:
    """A ball and a box on a ground, 20 views of 80 x 60 pixels, true masks and meshes. Don't write into its folder."""
    return write_tiny_capture(tmp_path_factory.mktemp("tiny") / "capture")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder that this test's engine uses by default, so that the user's is left alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SA3D_CACHE", str(folder))
    return folder

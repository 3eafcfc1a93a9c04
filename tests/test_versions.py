"""The add-on, the engine and the package carry one version."""

from __future__ import annotations

import tomllib
from pathlib import Path

import engine
from sa3d_blender.client import session

ROOT = Path(__file__).resolve().parents[1]


def test_all_sides_carry_the_same_version():
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))["version"]
    assert {engine.__version__, session.VERSION, package, manifest} == {package}

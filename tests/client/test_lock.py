"""The lock of the managed engine: it covers what pyproject.toml wants, with hashes, and names no server.

Where a test here fails after a change of pyproject.toml or constraints.txt, run tests/helpers/lock_engine.py again.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers.lock_engine import OUT, PYTHONS, ROOT, constraints, environment, wanted

CPU = ("linux-x86_64", "win32-amd64", "darwin-arm64")
TARGETS = [
    (build, platform, python)
    for build, platform, python in re.findall(
        r"^#: download (\S+) (\S+) (\S+) \d+$", (OUT / "engine.txt").read_text(), re.MULTILINE
    )
]


def pins(name: str) -> list[tuple[Requirement, list[str]]]:
    """Every pin of one of the lock's files with its hashes."""
    text = re.sub(r"^#.*\n", "", (OUT / name).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        requirement, *hashes = line.split(" --hash=")
        found.append((Requirement(requirement.strip()), [each.strip() for each in hashes]))
    return found


def installed(build: str, platform: str, python: str) -> dict[str, str]:
    """Name -> version of what pip installs for one target."""
    here = environment(python, platform)
    every = [pin for pin, _ in pins("engine.txt") + pins(f"torch-{build}.txt")]
    chosen = [pin for pin in every if pin.marker is None or pin.marker.evaluate(here)]
    found = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in chosen}
    assert len(found) == len(chosen), "a package is pinned twice"
    return found


def test_there_is_something_to_install_for_every_system_and_python() -> None:
    """Torch's build for Linux and the CPU is locked for the Pythons that there was a wheel for."""
    every = {("cpu", platform, python) for platform, python in product(CPU[1:], PYTHONS)}
    every |= {("cuda", "linux-x86_64", python) for python in PYTHONS} | {("cpu", "linux-x86_64", "3.11")}
    assert every <= set(TARGETS)


@pytest.mark.parametrize("target", TARGETS, ids="-".join)
def test_it_holds_all_that_the_engine_needs(target: tuple[str, str, str]) -> None:
    found = installed(*target)
    for line in wanted():
        requirement = Requirement(line)
        version = found[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{line} against {version}"


def test_the_versions_are_those_that_everything_is_tried_with() -> None:
    tried = {canonicalize_name(each.split("==")[0]): each.split("==")[1] for each in constraints()}
    differing = {
        (name, version, tried[name])
        for name, version in installed("cpu", "linux-x86_64", "3.11").items()
        if name in tried and version.split("+")[0] != tried[name]
    }
    assert differing == set()


@pytest.mark.parametrize("name", sorted(path.name for path in OUT.glob("*.txt")))
def test_every_pin_is_exact_and_hashed_and_no_server_is_named(name: str) -> None:
    for pin, hashes in pins(name):
        assert re.fullmatch(r"==[\w.+]+", str(pin.specifier)), pin
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), pin
    assert "://" not in Path(OUT, name).read_text()


def test_the_zip_takes_the_lock_along() -> None:
    """It lies inside of the package, and no pattern of the manifest leaves text files out."""
    assert OUT.is_relative_to(ROOT / "sa3d_blender")
    assert "*.txt" not in (ROOT / "blender_manifest.toml").read_text()

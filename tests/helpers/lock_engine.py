"""Locks what the add-on installs for its engine: versions, hashes and the size of the download, from pyproject.toml.

    python tests/helpers/lock_engine.py --uv PATH_OF_UV [--wheels FOLDER]

Versions are those of constraints.txt where Blender's numpy isn't the reason for them. Wheels only. Torch's build for
the CPU isn't on the usual index for Linux: what of it lies in ``--wheels`` is locked, and Pythons without one are left
out. Test `tests/client/test_lock.py` says when this has to be run again.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parents[2]
OUT = ROOT / "sa3d_blender" / "client" / "lock"
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = ("linux-x86_64", "win32-amd64", "darwin-arm64")
# Not in pyproject.toml: the first two come without their dependencies, see the Makefile; pip installs the rest.
BESIDES = ("torchvision", "timm", "pip")
EXTRAS = ("text",)
HEAD = """\
# What the add-on installs for its engine. Made by tests/helpers/lock_engine.py; don't edit.
# A line "#: download BUILD PLATFORM PYTHON BYTES" for everything that can be installed.
"""


@dataclass
class Pin:
    """One version of one package: which targets (Python, platform) want it, and the hashes of its wheels."""

    name: str
    version: str
    targets: set[tuple[str, str]] = field(default_factory=set)
    hashes: set[str] = field(default_factory=set)


def wanted() -> list[str]:
    """What the engine needs to run, without Torch's build."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *extras, *BESIDES]


def constraints() -> list[str]:
    """The versions that everything else is tried with; numpy's and bpy's are Blender's."""
    pins = [line.strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    return [pin for pin in pins if "==" in pin and pin.split("==")[0] not in ("numpy", "bpy")]


def resolve(uv: str, folder: Path) -> dict[str, Any]:
    """uv's own lock for all targets."""
    pins = constraints()
    torch = next(pin for pin in pins if pin.startswith("torch=="))
    marks = [f"sys_platform == '{p.split('-')[0]}'" for p in PLATFORMS]
    machines = ["x86_64", None, "arm64"]
    environments = [
        mark + (f" and platform_machine == '{machine}'" if machine else "")
        for mark, machine in zip(marks, machines, strict=True)
    ]
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "engine"\nversion = "0"\nrequires-python = ">={PYTHONS[0]},<3.14"\n'
        f"dependencies = {wanted()!r}\n[tool.uv]\nenvironments = {environments!r}\n"
        f"constraint-dependencies = {pins!r}\noverride-dependencies = [{torch!r}]\n"
    )
    subprocess.run([uv, "lock", "--no-config", "--directory", str(folder)], check=True)
    found: dict[str, Any] = tomllib.loads((folder / "uv.lock").read_text())
    return found


def environment(python: str, platform: str) -> dict[str, str]:
    """What markers are judged by."""
    system, machine = platform.split("-")
    return {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": system,
        "platform_machine": {"win32": "AMD64"}.get(system, machine),
        "platform_system": {"linux": "Linux", "win32": "Windows", "darwin": "Darwin"}[system],
        "os_name": "nt" if system == "win32" else "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }


def fits(markers: list[str], here: dict[str, str]) -> bool:
    """Whether one of the markers holds."""
    return any(Marker(each).evaluate(here) for each in markers)


def needed(lock: dict[str, Any], python: str, platform: str) -> list[dict[str, Any]]:
    """The packages for one target, by walking from the project along its dependencies."""
    here, found, waiting = environment(python, platform), {}, [("engine", None, ())]
    while waiting:
        name, version, extras = waiting.pop()
        package = next(
            p
            for p in lock["package"]
            if p["name"] == name
            and version in (None, p["version"])
            and (
                version or any(Marker(m).evaluate(here) for m in p.get("resolution-markers", ["python_version > '3'"]))
            )
        )
        if (name, extras) in found:
            continue
        found[name, extras] = package
        lines = [*package.get("dependencies", [])]
        for extra in extras:
            lines += package.get("optional-dependencies", {}).get(extra, [])
        for line in lines:
            if "marker" not in line or Marker(line["marker"]).evaluate(here):
                waiting.append((line["name"], line.get("version"), tuple(line.get("extra", ()))))
    return list({p["name"]: p for (name, _), p in found.items() if name != "engine"}.values())


def tags(python: str, platform: str) -> list[Tag]:
    """What wheels the target takes, best first."""
    version = tuple(map(int, python.split(".")))
    if platform.startswith("linux"):
        names = [f"manylinux_2_{minor}_x86_64" for minor in range(34, 4, -1)]
        names += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    elif platform.startswith("darwin"):
        names = list(mac_platforms((14, 0), "arm64"))
    else:
        names = ["win_amd64"]
    return [*cpython_tags(version, platforms=names), *compatible_tags(version, f"cp{python}", names)]


def wheels(package: dict[str, Any], python: str, platform: str) -> tuple[int, set[str]]:
    """(bytes of the wheel that pip takes, hashes of all that it may take on a newer or older system)."""
    order = {tag: place for place, tag in enumerate(tags(python, platform))}
    loose = {(tag.interpreter, tag.abi) for tag in order}
    family = {"linux": r".*linux.*_x86_64", "darwin": r"macosx_.*_(arm64|universal2)", "win32": r"win_amd64"}
    pattern = re.compile(f"any|{family[platform.split('-')[0]]}")
    sizes, hashes = [], set()
    for wheel in package.get("wheels", []):
        fits = parse_wheel_filename(wheel["url"].rsplit("/", 1)[1].replace("%2B", "+"))[3]
        if any((tag.interpreter, tag.abi) in loose and pattern.fullmatch(tag.platform) for tag in fits):
            hashes.add(wheel["hash"])
        places = [order[tag] for tag in fits if tag in order]
        if places:
            sizes.append((min(places), wheel["size"]))
    if not sizes:
        raise SystemExit(f"{package['name']} {package['version']} has no wheel for {python} on {platform}")
    return min(sizes)[1], hashes


def is_cuda(name: str) -> bool:
    """Whether a package is of Torch's build for CUDA only."""
    return name.startswith(("nvidia-", "cuda-")) or name == "triton"


def marker(targets: set[tuple[str, str]], among: set[tuple[str, str]]) -> str:
    """Says which of all targets want a package; empty for all."""
    if targets == among:
        return ""
    pythons, platforms = sorted({p for p, _ in targets}), [p for p in PLATFORMS if any(t[1] == p for t in targets)]
    if targets != {(a, b) for a in pythons for b in platforms} & among:
        raise SystemExit(f"no simple marker for {sorted(targets)}")
    said = []
    if {p for p, _ in among if _ in platforms} != set(pythons):
        said.append(" or ".join(f'python_version == "{p}"' for p in pythons))
    if {b for _, b in among} != set(platforms):
        said.append(" or ".join(f'sys_platform == "{p.split("-")[0]}"' for p in platforms))
    return " ; " + " and ".join(f"({each})" if " or " in each and len(said) > 1 else each for each in said)


def write(path: Path, pins: Iterable[Pin], among: set[tuple[str, str]], lines: Iterable[str]) -> None:
    """One requirements file."""

    def text() -> Iterator[str]:
        yield HEAD
        yield from (f"#: {line}\n" for line in lines)
        for pin in sorted(pins, key=lambda one: (one.name, one.version)):
            each = "".join(f" \\\n    --hash={digest}" for digest in sorted(pin.hashes))
            yield f"{pin.name}=={pin.version}{marker(pin.targets, among)}{each}\n"

    path.write_text("".join(text()))


def cpu_wheels(folder: Path | None, version: str) -> dict[str, tuple[int, str]]:
    """Python -> (bytes, hash) of Torch's wheels for Linux and the CPU that lie in ``folder``."""
    found = {}
    for path in sorted(folder.glob(f"torch-{version}+cpu-*x86_64.whl")) if folder else []:
        tag = next(iter(parse_wheel_filename(path.name)[3]))
        python = f"{tag.interpreter[2]}.{tag.interpreter[3:]}"
        found[python] = (path.stat().st_size, f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}")
    return found


def main() -> None:
    """Writes the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uv", default="uv")
    parser.add_argument("--wheels", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lock = resolve(given.uv, Path(folder))
    every = {(python, platform) for python in PYTHONS for platform in PLATFORMS}
    common: dict[tuple[str, str], Pin] = {}
    cuda: dict[tuple[str, str], Pin] = {}
    torch = Pin("torch", "")
    sizes: dict[tuple[str, str, str], int] = {}
    for python, platform in sorted(every):
        for package in needed(lock, python, platform):
            name, version = canonicalize_name(package["name"]), package["version"]
            size, hashes = wheels(package, python, platform)
            linux = platform.startswith("linux")
            if name == "torch":
                torch.version = version
            if name == "torch" and not linux:
                torch.targets.add((python, platform))
                torch.hashes |= hashes
            builds = ("cuda",) if is_cuda(name) or (name == "torch" and linux) else ("cpu", "cuda")
            if builds == ("cuda",) or name != "torch":
                home = cuda if builds == ("cuda",) else common
                pin = home.setdefault((name, version), Pin(name, version))
                pin.targets.add((python, platform))
                pin.hashes |= hashes
            for build in builds:
                sizes[build, platform, python] = sizes.get((build, platform, python), 0) + size
    built = cpu_wheels(given.wheels, torch.version)
    cpu = [torch]
    for python in PYTHONS:
        key = ("cpu", "linux-x86_64", python)
        if python not in built:
            del sizes[key]
            continue
        sizes[key] += built[python][0]
        cpu.append(Pin("torch", f"{torch.version}+cpu", {(python, "linux-x86_64")}, {built[python][1]}))
    OUT.mkdir(exist_ok=True)
    for python, platform in sorted(every):
        if not platform.startswith("linux"):
            del sizes["cuda", platform, python]
    said = [f"download {build} {platform} {python} {size}" for (build, platform, python), size in sorted(sizes.items())]
    write(OUT / "engine.txt", common.values(), every, said)
    write(OUT / "torch-cpu.txt", cpu, every, [])
    write(OUT / "torch-cuda.txt", cuda.values(), {target for target in every if target[1].startswith("linux")}, [])


if __name__ == "__main__":
    main()

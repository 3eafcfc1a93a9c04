"""The two sides of the project: who may import whom, and what may lie at the top level."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# bpy and the modules that exist only inside Blender (_cycles: how its renderer was built).
BLENDER = frozenset(
    {"_cycles", "addon_utils", "blf", "bmesh", "bpy", "bpy_extras", "gpu", "gpu_extras", "mathutils", "nodeitems_utils"}
    | {"rna_keymap_ui"}
)
STDLIB = frozenset(sys.stdlib_module_names) | {"__future__"}
TOP_LEVEL = frozenset(
    {
        ".ci",
        ".gitattributes",
        ".gitignore",
        "LICENSE",
        "Makefile",
        "README.md",
        "__init__.py",
        "blender_manifest.toml",
        "constraints.txt",
        "docs",
        "engine",
        "pyproject.toml",
        "sa3d_blender",
        "tests",
    }
)


def is_blender(module: str) -> bool:
    top = module.split(".")[0]
    return top in BLENDER or top.startswith("bl_")


def imports_of(source: str, package: str) -> Iterator[str]:
    """Every module that ``source``, a module inside ``package``, imports anywhere; relative ones made absolute."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                anchor = parts[: len(parts) - node.level + 1]
                base = ".".join([*anchor, base] if base else anchor)
            # "from package import module" may import a module, so the name counts as a part of the path.
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield node.args[0].value


def arrows(folder: str) -> list[tuple[str, str]]:
    """(file, imported module) for every import in the tracked and untracked Python files of a folder."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        relative = path.relative_to(ROOT)
        package = ".".join(relative.parent.parts)
        for module in imports_of(path.read_text(encoding="utf-8"), package):
            found.append((relative.as_posix(), module))
    return found


def wrong(folder: str, allowed) -> list[str]:
    return [f"{file} imports {module}" for file, module in arrows(folder) if not allowed(module)]


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def test_the_engine_never_imports_blender():
    assert wrong("engine", lambda module: not is_blender(module)) == []


def test_the_engine_imports_only_the_protocol_from_the_blender_side():
    assert wrong("engine", lambda m: not within(m, "sa3d_blender") or within(m, "sa3d_blender.protocol")) == []


def test_the_blender_side_imports_only_the_standard_library_numpy_and_blender():
    def allowed(module: str) -> bool:
        return (
            module.split(".")[0] in STDLIB
            or within(module, "numpy")
            or within(module, "sa3d_blender")
            or is_blender(module)
        )

    assert wrong("sa3d_blender", allowed) == []


def test_the_protocol_imports_only_the_standard_library_and_itself():
    assert (
        wrong(
            "sa3d_blender/protocol",
            lambda m: m.split(".")[0] in STDLIB or within(m, "sa3d_blender.protocol"),
        )
        == []
    )


def test_the_client_never_imports_blender():
    assert wrong("sa3d_blender/client", lambda module: not is_blender(module)) == []


def test_the_protocol_can_be_imported_where_there_is_no_blender():
    code = (
        "import sys; sys.modules['bpy'] = None; import sa3d_blender, sa3d_blender.protocol.errors; "
        "print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"


def test_the_tests_do_not_depend_on_the_name_of_the_checkouts_folder(request):
    packages = [node.path for node in request.node.listchain() if isinstance(node, pytest.Package)]
    assert packages == []


def test_only_named_things_lie_at_the_top_level():
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    top = {path.split("/")[0] for path in listed.split("\0") if path}
    assert top - TOP_LEVEL == set()


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import bpy", "bpy"),
        ("def f():\n    from bpy.types import Mesh", "bpy.types.Mesh"),
        ("from ..scene import meshes", "sa3d_blender.scene.meshes"),
        ("from . import framing", "sa3d_blender.client.framing"),
        ("import importlib\nimportlib.import_module('bpy')", "bpy"),
        ("__import__('torch')", "torch"),
    ],
)
def test_the_walk_sees_every_way_to_import(source: str, module: str):
    assert module in set(imports_of(source, "sa3d_blender.client"))

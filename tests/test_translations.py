"""Every text that the add-on shows has its translation; a missing one is named."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1] / "sa3d_blender"
SEEN = ("operators", "ui", "tools", "overlay")  # folders; of the top level all
SPOKEN = frozenset({"name", "description", "text", "placeholder", "heading"})
LABELS = frozenset({"bl_label", "bl_description"})
NOT_WORDS = frozenset({"ssh gpubox sa3d serve", "3D View Generic"})  # an example of a command; the name of a keymap


def files() -> Iterator[Path]:
    yield from sorted(ROOT.glob("*.py"))
    for folder in SEEN:
        yield from sorted(ROOT.joinpath(folder).glob("*.py"))


def constants(tree: ast.expr | None) -> list[str]:
    """A text, or both of a choice between two."""
    if isinstance(tree, ast.IfExp):
        return constants(tree.body) + constants(tree.orelse)
    return [tree.value] if isinstance(tree, ast.Constant) and isinstance(tree.value, str) else []


def texts(tree: ast.Module) -> Iterator[str]:
    """What a module shows: labels, tooltips (an operator's is its docstring), properties, the choices of an enum."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and "_OT_" in node.name:
            yield ast.get_docstring(node) or ""
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in LABELS:
                yield from constants(node.value)
            if name.isupper() and isinstance(node.value, ast.Tuple):
                for item in node.value.elts:
                    if isinstance(item, ast.Tuple) and len(item.elts) == 3:
                        yield from (one for part in item.elts[1:] for one in constants(part))
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr == "Thread":
                continue
            for keyword in node.keywords:
                if keyword.arg in SPOKEN:
                    yield from constants(keyword.value)


def shown() -> dict[str, str]:
    """Each text and a file that shows it."""
    found = {text: path.name for path in files() for text in texts(ast.parse(path.read_text(encoding="utf-8")))}
    return {text: path for text, path in found.items() if any(map(str.isalpha, text)) and text not in NOT_WORDS}


@pytest.fixture
def table() -> Any:
    pytest.importorskip("bpy")
    from sa3d_blender.translations import table

    return table


def test_all_that_is_shown_is_in_german(table):
    german = table(ROOT / "translations" / "de_DE.po")
    missing = {text: path for text, path in shown().items() if not german.get(text)}
    assert len(shown()) > 150 and not missing


def test_nothing_is_translated_that_is_not_shown_any_more(table):
    german = table(ROOT / "translations" / "de_DE.po")
    source = "".join(path.read_text(encoding="utf-8") for path in files())
    known = shown()
    assert [text for text in german if text not in known and text not in source] == []


def test_a_table_that_is_torn_is_refused(table, tmp_path):
    path = tmp_path / "xx.po"
    path.write_text('msgid "One"\n\nmsgid "Two"\nmsgstr "Zwei"\n')
    with pytest.raises(ValueError, match="a msgid too many"):
        table(path)

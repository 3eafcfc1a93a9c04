"""The interface in other languages: one PO file for each, named after Blender's code of the language."""

from __future__ import annotations

import ast
from pathlib import Path

import bpy

__all__ = ["register", "table", "unregister"]

FOLDER = Path(__file__).parent
CONTEXTS = ("*", "Operator")
"""Blender looks a button's text up in the second, everything else in the first."""


def table(path: Path) -> dict[str, str]:
    """The translations in a PO file that has each text on one line.

    Raises:
        ValueError: a text without its translation, or the other way round.
    """
    found: dict[str, str] = {}
    said: str | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        word, _, text = line.partition(" ")
        if word not in ("msgid", "msgstr"):
            if line and not line.startswith(("#", '"')):
                raise ValueError(f"{path.name}:{number}: neither msgid nor msgstr")
        elif (word == "msgid") == (said is None):
            if said:
                found[said] = ast.literal_eval(text)
            said = ast.literal_eval(text) if said is None else None
        else:
            raise ValueError(f"{path.name}:{number}: a {word} too many")
    return found


def register() -> None:
    """Tells Blender."""
    tables = {
        path.stem: {(context, said): means for said, means in table(path).items() if means for context in CONTEXTS}
        for path in sorted(FOLDER.glob("*.po"))
    }
    bpy.app.translations.register(__package__, tables)


def unregister() -> None:
    """Takes it back."""
    bpy.app.translations.unregister(__package__)

"""Hints in the status bar while one of our tools is in the hand."""

from __future__ import annotations

from typing import Any

import bpy

__all__ = ["HINTS", "register", "unregister"]

LEFT, CTRL = ("MOUSE_LMB",), ("EVENT_CTRL", "MOUSE_LMB")
DRAG, CTRL_DRAG = ("MOUSE_LMB_DRAG",), ("EVENT_CTRL", "MOUSE_LMB_DRAG")
REMOVE = (("EVENT_X",), "Remove Selected")
OTHER = (("EVENT_C",), "Other Mask")

HINTS: dict[str, tuple[tuple[tuple[str, ...], str], ...]] = {
    "sa3d.click_tool": ((LEFT, "This"), (CTRL, "Not This"), OTHER, REMOVE),
    "sa3d.box_tool": ((DRAG, "Box around It"), OTHER, REMOVE),
    "sa3d.scribble_tool": ((DRAG, "This"), (CTRL_DRAG, "Not This"), OTHER, REMOVE),
}
"""For each tool: the icons of what to press, and what that does."""


def _draw(self: Any, context: Any) -> None:
    if context.workspace is None:
        return
    tool = context.workspace.tools.from_space_view3d_mode("OBJECT", create=False)
    hints = HINTS.get(tool.idname) if tool is not None else None
    if not hints or context.mode != "OBJECT":
        return
    row = self.layout.row(align=True)
    for icons, text in hints:
        for icon in icons:
            row.label(text="", icon=icon)
            if icon.startswith("EVENT_CTRL"):
                row.separator(factor=1.5)  # its picture is wider than the room for an icon
        row.label(text=text)
        row.separator(factor=2.0)


def register() -> None:
    """Before Blender's own hints."""
    bpy.types.STATUSBAR_HT_header.prepend(_draw)


def unregister() -> None:
    """Takes them away again."""
    bpy.types.STATUSBAR_HT_header.remove(_draw)

"""Click, Box and Scribble in the toolbar: which key does what."""

from __future__ import annotations

from typing import Any

import bpy

from .draw_icons import FOLDER

__all__ = ["TOOLS", "register", "unregister"]

LEFT = {"type": "LEFTMOUSE", "value": "PRESS"}
NOT_THIS = {**LEFT, "ctrl": True}


def _press(kind: str) -> dict[str, str]:
    return {"type": kind, "value": "PRESS"}


# Without these a tool's keys would be Blender's own: X would delete the selected mesh.
COMMON: tuple[Any, ...] = (
    ("sa3d.remove_prompt", _press("X"), {"properties": [("seen_only", True)]}),
    ("sa3d.remove_prompt", _press("DEL"), {"properties": [("seen_only", True)]}),
    ("sa3d.remove_prompt", _press("BACK_SPACE"), {"properties": [("seen_only", True)]}),
    ("sa3d.next_candidate", _press("C"), None),
    ("sa3d.next_view", _press("PAGE_DOWN"), None),
    ("sa3d.previous_view", _press("PAGE_UP"), None),
)


class _Tool(bpy.types.WorkSpaceTool):
    """What the three have in common."""

    bl_space_type = "VIEW_3D"
    bl_context_mode = "OBJECT"
    bl_cursor = "CROSSHAIR"
    hint = ""

    def draw_settings(context: Any, layout: Any, _tool: Any) -> None:
        """In the header: the object that the prompts are for."""
        from ..scene.prompt_store import active_object
        from ..scene.views import active_capture

        capture = active_capture(context.scene)
        prompted = active_object(capture) if capture is not None else None
        if prompted is not None:
            layout.prop(prompted, "name", text="", icon="OBJECT_DATA")
        elif capture is not None:
            layout.label(text="New object", icon="OBJECT_DATA")
        else:
            layout.label(text="Import a capture first", icon="INFO")


class ClickTool(_Tool):
    """Clicks."""

    bl_idname = "sa3d.click_tool"
    bl_label = "Click Object"
    bl_description = (
        "Click the object in a photo.\n"
        "Ctrl-click what is not of it.\n"
        "C takes another of the masks that the click may mean.\n"
        "A click on a dot selects it, X removes it; Page Up and Page Down turn to other photos"
    )
    bl_icon = str(FOLDER / "sa3d.click")
    bl_keymap = (
        ("sa3d.add_click", LEFT, {"properties": [("positive", True)]}),
        ("sa3d.add_click", NOT_THIS, {"properties": [("positive", False)]}),
        *COMMON,
    )


class BoxTool(_Tool):
    """Boxes."""

    bl_idname = "sa3d.box_tool"
    bl_label = "Box Object"
    bl_description = "Drag a box around the object in a photo.\nA second box in the same photo replaces the first"
    bl_icon = str(FOLDER / "sa3d.box")
    bl_keymap = (("sa3d.add_box", LEFT, None), *COMMON)


class ScribbleTool(_Tool):
    """Scribbles."""

    bl_idname = "sa3d.scribble_tool"
    bl_label = "Scribble Object"
    bl_description = "Draw a line over the object in a photo.\nCtrl-drag over what is not of it"
    bl_icon = str(FOLDER / "sa3d.scribble")
    bl_keymap = (
        ("sa3d.add_scribble", LEFT, {"properties": [("positive", True)]}),
        ("sa3d.add_scribble", NOT_THIS, {"properties": [("positive", False)]}),
        *COMMON,
    )


TOOLS = (ClickTool, BoxTool, ScribbleTool)


def register() -> None:
    """Puts them behind Blender's own tools, in a group of their own place."""
    bpy.utils.register_tool(ClickTool, separator=True, group=False)
    bpy.utils.register_tool(BoxTool, after={ClickTool.bl_idname})
    bpy.utils.register_tool(ScribbleTool, after={BoxTool.bl_idname})


def unregister() -> None:
    """Takes them away again."""
    for tool in reversed(TOOLS):
        bpy.utils.unregister_tool(tool)

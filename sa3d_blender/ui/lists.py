"""The lists of objects and of prompts."""

from __future__ import annotations

from typing import Any

import bpy

__all__ = ["CLASSES"]

KIND_ICONS = {"CLICK": "DOT", "BOX": "SELECT_SET", "SCRIBBLE": "GREASEPENCIL"}
COLOUR_ICONS = {True: "COLORSET_03_VEC", False: "COLORSET_01_VEC"}  # green and red, in every Blender from 4.2 on


class SA3D_UL_objects(bpy.types.UIList):
    """Objects of a capture: name, how much was said."""

    def draw_item(
        self, _context: Any, layout: Any, _data: Any, item: Any, _icon: Any, _active: Any, _property: Any, _index: int
    ) -> None:
        """One row."""
        layout.prop(item, "name", text="", emboss=False, icon="OBJECT_DATA")
        count = layout.row()
        count.alignment = "RIGHT"
        count.active = False
        count.label(text=str(len(item.prompts)) if len(item.prompts) else "")


class SA3D_UL_prompts(bpy.types.UIList):
    """Prompts of an object: this or not this, what kind, in which photo; an eye that goes there."""

    def draw_item(
        self, context: Any, layout: Any, _data: Any, item: Any, _icon: Any, _active: Any, _property: Any, index: int
    ) -> None:
        """One row."""
        row = layout.row(align=True)
        row.active = item.camera is not None and item.camera == context.scene.camera
        row.label(text="", icon=COLOUR_ICONS[item.positive])
        row.label(text=item.camera.name if item.camera is not None else "no camera", icon=KIND_ICONS[item.kind])
        show = row.operator("sa3d.show_prompt", text="", icon="VIEW_CAMERA", emboss=False)
        show.number = index


CLASSES = (SA3D_UL_objects, SA3D_UL_prompts)

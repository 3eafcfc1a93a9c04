"""The tab SA3D in the sidebar of the 3D viewport, from the capture at the top to the verbs at the bottom."""

from __future__ import annotations

from typing import Any

import bpy

from ..scene.prompt_store import active_object
from ..scene.straight_camera import WORTH_SAYING
from ..scene.views import active_capture, cameras_of, seen_camera
from .jobs_panel import CLASSES as JOBS
from .lists import CLASSES as LISTS
from .mask_panel import CLASSES as MASK

__all__ = ["register", "unregister"]


class _Panel:
    """Where they are."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "SA3D"


class _NeedsCapture(_Panel):
    """Panels that say something only about a capture."""

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs one."""
        return active_capture(context.scene) is not None


class SA3D_PT_capture(_Panel, bpy.types.Panel):
    """The capture."""

    bl_idname = "SA3D_PT_capture"
    bl_label = "Capture"

    def draw(self, context: Any) -> None:
        """Which it is, or how to get one."""
        layout = self.layout
        capture = active_capture(context.scene)
        if capture is None:
            layout.label(text="No capture in this scene")
            layout.operator("sa3d.import_capture", icon="IMPORT")
            return
        row = layout.row(align=True)
        row.prop(context.scene.sa3d, "capture", text="", icon="OUTLINER_COLLECTION")
        row.operator("sa3d.import_capture", text="", icon="IMPORT")
        row.operator("sa3d.remove_capture", text="", icon="TRASH")
        missing = capture.get("sa3d_missing_photos", 0)
        if missing:
            layout.label(text=f"{missing} photos are missing", icon="ERROR")
        helpers = [item for item in capture.objects if "sa3d_points" in item or "sa3d_region" in item]
        if helpers:
            column = layout.column(heading="Show", align=True)
            column.use_property_split = True
            column.use_property_decorate = False
            for item in helpers:
                column.prop(item, "hide_viewport", text=item.name, invert_checkbox=True, toggle=False)


class SA3D_PT_views(_NeedsCapture, bpy.types.Panel):
    """From photo to photo."""

    bl_idname = "SA3D_PT_views"
    bl_label = "Views"

    def draw(self, context: Any) -> None:
        """Where one is and where one can go."""
        layout = self.layout
        cameras = cameras_of(active_capture(context.scene))
        here = seen_camera(context.scene, context.space_data)
        row = layout.row(align=True)
        row.operator("sa3d.previous_view", text="", icon="TRIA_LEFT")
        if here in cameras:
            text = f"{here.name}  ({cameras.index(here) + 1} of {len(cameras)})"
        else:
            text = f"{len(cameras)} photos"
        row.operator("sa3d.look_through", text=text).camera = here.name if here in cameras else ""
        row.operator("sa3d.next_view", text="", icon="TRIA_RIGHT")
        layout.operator("sa3d.nearest_view", icon="VIEW_CAMERA")
        hidden = here.get("sa3d_hidden", 0.0) if here in cameras else 0.0
        if hidden >= WORTH_SAYING:
            layout.label(text=f"{100 * hidden:.0f} % of the photo, at its rim, can't be shown", icon="INFO")


class SA3D_PT_objects(_NeedsCapture, bpy.types.Panel):
    """The objects and what was said about them."""

    bl_idname = "SA3D_PT_objects"
    bl_label = "Objects"

    def draw(self, context: Any) -> None:
        """The list, and what belongs to the chosen one."""
        layout = self.layout
        capture = active_capture(context.scene)
        row = layout.row()
        row.template_list("SA3D_UL_objects", "", capture.sa3d, "objects", capture.sa3d, "active", rows=3)
        buttons = row.column(align=True)
        buttons.operator("sa3d.add_object", text="", icon="ADD").name = "Object"
        buttons.operator("sa3d.remove_object", text="", icon="REMOVE")
        prompted = active_object(capture)
        if prompted is None:
            hint = layout.column(align=True)
            hint.active = False
            hint.label(text="Take the tool Click Object,")
            hint.label(text="look through a camera and click.")
            return


class SA3D_PT_prompts(_NeedsCapture, bpy.types.Panel):
    """The prompts of the chosen object."""

    bl_idname = "SA3D_PT_prompts"
    bl_label = "Prompts"
    bl_parent_id = "SA3D_PT_objects"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012  Blender reads it from the class

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs an object."""
        return super().poll(context) and active_object(active_capture(context.scene)) is not None

    def draw(self, context: Any) -> None:
        """The list; what is in another photo is dimmed."""
        layout = self.layout
        prompted = active_object(active_capture(context.scene))
        row = layout.row()
        row.template_list("SA3D_UL_prompts", "", prompted, "prompts", prompted, "active", rows=3)
        buttons = row.column(align=True)
        buttons.operator("sa3d.remove_prompt", text="", icon="REMOVE")
        buttons.operator("sa3d.clear_prompts", text="", icon="TRASH").everywhere = False


CLASSES = (*LISTS, SA3D_PT_capture, SA3D_PT_views, SA3D_PT_objects, *MASK, SA3D_PT_prompts, *JOBS)


def register() -> None:
    """Adds the tab."""
    for one in CLASSES:
        bpy.utils.register_class(one)


def unregister() -> None:
    """Takes it away again."""
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)

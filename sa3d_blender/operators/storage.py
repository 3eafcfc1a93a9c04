"""What is kept on the disk: weights are fetched and deleted, the engine's cache and straightened photos are cleared."""

from __future__ import annotations

from typing import Any

import bpy

from .. import engine_facts, jobs, link
from ..scene.straight_copies import clear_copies
from .engine import OFFLINE

__all__ = ["register", "unregister"]


class _OnWeights:
    """Operators on one entry of the list of weights."""

    name: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]


class SA3D_OT_get_weights(_OnWeights, bpy.types.Operator):
    """Download these weights. A download that was begun goes on where it stopped"""

    bl_idname = "sa3d.get_weights"
    bl_label = "Get"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """Needs the permission to go online."""
        if not bpy.app.online_access:
            cls.poll_message_set(OFFLINE)
        return bool(bpy.app.online_access)

    def execute(self, _context: Any) -> set[str]:
        """Begins, and doesn't wait."""
        if not bpy.app.online_access:
            self.report({"ERROR"}, OFFLINE)
            return {"CANCELLED"}
        engine_facts.get_weights(self.name)
        return {"FINISHED"}


class SA3D_OT_cancel_weights(_OnWeights, bpy.types.Operator):
    """Stop this download. What has come is kept for the next time"""

    bl_idname = "sa3d.cancel_weights"
    bl_label = "Cancel"

    def execute(self, _context: Any) -> set[str]:
        """Takes effect within a moment."""
        engine_facts.cancel_get(self.name)
        return {"FINISHED"}


class SA3D_OT_remove_weights(_OnWeights, bpy.types.Operator):
    """Delete these weights from the disk"""

    bl_idname = "sa3d.remove_weights"
    bl_label = "Remove Weights"

    def invoke(self, context: Any, event: Any) -> set[str]:
        """Waits for a yes."""
        found: set[str] = context.window_manager.invoke_confirm(self, event)
        return found

    def execute(self, _context: Any) -> set[str]:
        """Doesn't wait."""
        engine_facts.remove_weights(self.name)
        return {"FINISHED"}


class SA3D_OT_clear_cache(bpy.types.Operator):
    """Delete trained captures and results from the cache. Meshes in your files and downloaded weights stay"""

    bl_idname = "sa3d.clear_cache"
    bl_label = "Clear Cache"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """Not while something is being made in it."""
        if jobs.running() is not None:
            cls.poll_message_set("The engine is at work: let it finish, or cancel it")
            return False
        return True

    def invoke(self, context: Any, event: Any) -> set[str]:
        """Waits for a yes."""
        found: set[str] = context.window_manager.invoke_confirm(self, event)
        return found

    def execute(self, _context: Any) -> set[str]:
        """Doesn't wait."""
        engine_facts.clear_cache()
        return {"FINISHED"}


class SA3D_OT_clear_straight_photos(bpy.types.Operator):
    """Delete the straightened copies of photos, all but those that this file shows. They are made again when needed"""

    bl_idname = "sa3d.clear_straight_photos"
    bl_label = "Clear Straightened Photos"

    def execute(self, _context: Any) -> set[str]:
        """At once: nothing is lost that a second doesn't bring back."""
        try:
            gone, kept = clear_copies()
        except OSError as fault:
            self.report({"ERROR"}, f"The copies can't be deleted: {fault.strerror or fault}")
            return {"CANCELLED"}
        self.report({"INFO"}, f"{gone} copies deleted" + (f", {kept} are in this file and stay" if kept else ""))
        link.redraw(preferences=True)
        return {"FINISHED"}


class SA3D_OT_refresh_storage(bpy.types.Operator):
    """Look again what is on the disk"""

    bl_idname = "sa3d.refresh_storage"
    bl_label = "Look"

    def execute(self, _context: Any) -> set[str]:
        """Doesn't wait; starts the engine where none runs, for the folders are on its machine."""
        engine_facts.refresh()
        return {"FINISHED"}


CLASSES = (
    SA3D_OT_get_weights,
    SA3D_OT_cancel_weights,
    SA3D_OT_remove_weights,
    SA3D_OT_clear_cache,
    SA3D_OT_clear_straight_photos,
    SA3D_OT_refresh_storage,
)


def register() -> None:
    """Adds the operators."""
    for one in CLASSES:
        bpy.utils.register_class(one)


def unregister() -> None:
    """Takes them away again."""
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)

"""Quads over the mesh of the active object, by Blender's own remesher: a copy to work on, the original hidden."""

from __future__ import annotations

from typing import Any

import bpy

from .. import jobs
from ..scene.delivery import keep_apart
from ..scene.meshes import colour_material
from ..scene.names import fitting
from ..scene.prompt_store import active_object
from ..scene.views import active_capture
from .results import result_of

__all__ = ["register", "unregister"]


class SA3D_OT_quad_remesh(bpy.types.Operator):
    """Make an ordinary object of even quads over this mesh, in its colours. The mesh itself is kept, hidden"""

    bl_idname = "sa3d.quad_remesh"
    bl_label = "Quad Remesh"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012  Blender reads it from the class

    faces: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Quads", description="About how many quads there are to be", default=4000, min=20, max=200_000
    )

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs a good mesh in this view layer that no job is about to change, and Object Mode."""
        made = result_of(context)
        if made is None:
            cls.poll_message_set("There is no mesh of this object yet: press Segment")  # type: ignore[attr-defined]
            return False
        capture = active_capture(context.scene)
        if jobs.unfinished(capture["sa3d_uid"], active_object(capture).uid) is not None:
            cls.poll_message_set("This object is being worked on: wait, or cancel it first")  # type: ignore[attr-defined]
            return False
        if "sa3d_draft" in made:
            cls.poll_message_set("The mesh is a rough shape: press Apply first")  # type: ignore[attr-defined]
            return False
        if context.mode != "OBJECT" or made.name not in context.view_layer.objects:
            cls.poll_message_set("The mesh has to be in this view layer, in Object Mode")  # type: ignore[attr-defined]
            return False
        return True

    def execute(self, context: Any) -> set[str]:
        """Remeshes a copy without its modifiers. Where that fails, nothing has changed."""
        made = result_of(context)
        selected, active = list(context.selected_objects), context.view_layer.objects.active
        quads = _bare_copy(made, context.scene)
        _select_alone(quads, context)
        try:
            # Colours and what was observed are taken over from the nearest places of the old surface.
            done = bpy.ops.object.quadriflow_remesh(
                mode="FACES", target_faces=self.faces, use_preserve_boundary=True, preserve_attributes=True
            )
            fault = "" if done == {"FINISHED"} and len(quads.data.polygons) else "nothing came of it"
        except RuntimeError as error:
            fault = str(error).strip().removeprefix("Error: ")
        if fault:
            data = quads.data
            bpy.data.objects.remove(quads)
            bpy.data.meshes.remove(data)
            for each in selected:
                each.select_set(True)
            context.view_layer.objects.active = active
            self.report({"WARNING"}, f"{made.name} can't be remeshed: {fault}")
            return {"CANCELLED"}
        _show_colours(quads.data)
        made.hide_set(True)
        made.hide_render = True
        self.report({"INFO"}, f"{quads.name}: {len(quads.data.polygons):,} faces; {made.name} is hidden")
        return {"FINISHED"}


def _bare_copy(made: Any, scene: Any) -> Any:
    """An ordinary object with a mesh of its own, where a result stands; no modifier would be remeshed with it."""
    quads = made.copy()
    quads.data = made.data.copy()
    quads.name = quads.data.name = fitting(f"{made.name} Quads")
    quads.modifiers.clear()
    if quads.data.shape_keys is not None:
        quads.shape_key_clear()
    keep_apart(quads, scene)
    return quads


def _select_alone(wanted: Any, context: Any) -> None:
    context.view_layer.update()
    for other in list(context.view_layer.objects.selected):
        other.select_set(False)
    wanted.hide_set(False)
    wanted.select_set(True)
    context.view_layer.objects.active = wanted


def _show_colours(data: Any) -> None:
    """Vertex colours instead of a texture: its charts end where no edge of a quad lies."""
    while data.uv_layers:
        data.uv_layers.remove(data.uv_layers[0])
    data.materials.clear()
    data.materials.append(colour_material())


def register() -> None:
    """Adds the operator."""
    bpy.utils.register_class(SA3D_OT_quad_remesh)


def unregister() -> None:
    """Takes it away again."""
    bpy.utils.unregister_class(SA3D_OT_quad_remesh)

"""What the prompt tools do on the photo: a click, a box, a scribble; each is one step of undo."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from ..overlay import pending
from ..scene.cameras import view_of
from ..scene.frame import Frame
from ..scene.lens import has_photo_at
from ..scene.prompt_store import active_object, add_object, add_prompt, hit
from ..scene.strokes import simplified
from ..scene.viewport import photo_frame
from ..scene.views import capture_of, seen_camera

__all__ = ["register", "unregister"]

REACH = 9.0
"""Pixels, at a user interface of 100 %: what a click may miss a dot by and still select it."""

DRAG = 4.0
"""Pixels: a shorter drag is a click."""

STRAY = 0.75
"""Pixels that a stroke's kept points may be off what the hand drew."""


def ui_scale(context: Any) -> float:
    """Pixels of the screen for one of the interface's."""
    return float(context.preferences.system.ui_scale)


class _Prompting:
    """What clicking, boxing and scribbling share."""

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs a scene with a capture's camera."""
        camera = seen_camera(context.scene, context.space_data)
        if capture_of(context.scene, camera) is None:
            cls.poll_message_set(  # type: ignore[attr-defined]
                "The scene's camera belongs to no capture: import one, then press Next View"
            )
            return False
        return True

    def _frame(self, context: Any) -> tuple[Any, Frame] | None:
        """The photo in the viewport; says what to do where there is none to click on."""
        found = photo_frame(context)
        if found is None or capture_of(context.scene, found[0]) is None:
            self.report({"WARNING"}, "Look through a photo first: press Next View")  # type: ignore[attr-defined]
            return None
        return found

    def _select_there(
        self, context: Any, camera: Any, frame: Frame, at: tuple[float, float], kinds: set[str] | None
    ) -> bool:
        capture = capture_of(context.scene, camera)
        found = hit(capture, camera, frame, *at, REACH * ui_scale(context), kinds)
        if found is None:
            return False
        capture.sa3d.active, capture.sa3d.objects[found[0]].active = found
        return True

    def _camera_of(self, context: Any, view: str) -> Any:
        return context.scene.objects.get(view) if view else seen_camera(context.scene, context.space_data)

    def _store(self, context: Any, kind: str, fractions: Any, positive: bool, view: str = "") -> set[str]:
        camera = self._camera_of(context, view)
        capture = capture_of(context.scene, camera)
        if capture is None:
            self.report({"ERROR"}, f'"{view}" is no camera of a capture')  # type: ignore[attr-defined]
            return {"CANCELLED"}
        add_prompt(active_object(capture) or add_object(capture), kind, camera, fractions, positive)
        _redraw(context)
        return {"FINISHED"}


def _redraw(context: Any) -> None:
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


VIEW = {"name": "View", "description": "Name of the camera; the one looked through where it is empty"}
POSITIVE = {"name": "This", "description": "Mark the object, or else what is not the object", "default": True}


class SA3D_OT_add_click(_Prompting, bpy.types.Operator):
    """Mark a point of the object in the photo, or with Ctrl a point that is not of it. A click on a dot selects it"""

    bl_idname = "sa3d.add_click"
    bl_label = "Mark Point"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012  Blender reads it from the class

    place: bpy.props.FloatVectorProperty(  # type: ignore[valid-type]
        name="Place", description="Fractions of the photo, from its top-left corner", size=2, min=0, max=1, precision=4
    )
    positive: bpy.props.BoolProperty(**POSITIVE)  # type: ignore[valid-type]
    view: bpy.props.StringProperty(**VIEW, options={"HIDDEN"})  # type: ignore[valid-type]

    def invoke(self, context: Any, event: Any) -> set[str]:
        """Takes the place under the mouse."""
        found = self._frame(context)
        if found is None:
            return {"CANCELLED"}
        camera, frame = found
        at = (event.mouse_region_x, event.mouse_region_y)
        if self._select_there(context, camera, frame, at, {"CLICK"}):
            _redraw(context)
            bpy.ops.ed.undo_push(message="Select Prompt")
            return {"CANCELLED"}
        # The middle of the pixel: the mouse's coordinates name its lower left corner.
        x, y = at[0] + 0.5, at[1] + 0.5
        if not frame.holds(x, y):
            self.report({"INFO"}, "That is beside the photo")
            return {"CANCELLED"}
        self.place, self.view = frame.fraction(x, y), camera.name
        return self.execute(context)

    def execute(self, context: Any) -> set[str]:
        """Adds the point, where the straightened photo shows something."""
        camera = self._camera_of(context, self.view)
        if capture_of(context.scene, camera) is not None and not has_photo_at(view_of(camera), self.place):
            self.report({"WARNING"}, "The photo shows nothing there: what is black lies beyond what its lens saw")
            return {"CANCELLED"}
        return self._store(context, "CLICK", [tuple(self.place)], self.positive, self.view)


class _Dragging(_Prompting):
    """Press, drag, release; Esc or the right button give it up."""

    kind = ""
    hint = ""

    def invoke(self, context: Any, event: Any) -> set[str]:
        """Begins at the mouse."""
        found = self._frame(context)
        if found is None:
            return {"CANCELLED"}
        self._camera, self._photo = found
        start = (event.mouse_region_x + 0.5, event.mouse_region_y + 0.5)
        if not self._photo.holds(*start):
            self.report({"INFO"}, "Begin on the photo")  # type: ignore[attr-defined]
            return {"CANCELLED"}
        self._line = [start]
        pending.begin(context.region, self.kind, self.positive)  # type: ignore[attr-defined]
        pending.show(self._line)
        context.workspace.status_text_set(f"{self.hint}    Esc or right button: give up")
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: Any, event: Any) -> set[str]:
        """Follows the mouse."""
        if event.type in {"ESC", "RIGHTMOUSE"}:
            self.cancel(context)
            return {"CANCELLED"}
        if event.type in {"MOUSEMOVE", "INBETWEEN_MOUSEMOVE"}:
            self._follow((event.mouse_region_x + 0.5, event.mouse_region_y + 0.5))
            pending.show(self._line)
            context.area.tag_redraw()
        elif event.type == "LEFTMOUSE" and event.value == "RELEASE":
            self._follow((event.mouse_region_x + 0.5, event.mouse_region_y + 0.5))
            self.cancel(context)
            return self._finish(context)
        return {"RUNNING_MODAL"}

    def cancel(self, context: Any) -> None:
        """Cleans up; Blender calls it too when a file is opened on the way."""
        pending.end()
        if context.workspace is not None:
            context.workspace.status_text_set(None)
        _redraw(context)

    def _follow(self, at: tuple[float, float]) -> None:
        raise NotImplementedError

    def _finish(self, context: Any) -> set[str]:
        way = np.ptp(np.array(self._line), axis=0).max()
        if way < DRAG * ui_scale(context):
            start = (self._line[0][0], self._line[0][1])
            if self._select_there(context, self._camera, self._photo, start, None):
                _redraw(context)
                bpy.ops.ed.undo_push(message="Select Prompt")
            else:
                self.report({"INFO"}, self.hint)  # type: ignore[attr-defined]
            return {"CANCELLED"}
        self._keep()
        self.view = self._camera.name
        return self.execute(context)  # type: ignore[attr-defined, no-any-return]

    def _keep(self) -> None:
        raise NotImplementedError


class SA3D_OT_add_box(_Dragging, bpy.types.Operator):
    """Drag a box around the object in the photo. A click on a box selects it"""

    bl_idname = "sa3d.add_box"
    bl_label = "Mark Box"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    low: bpy.props.FloatVectorProperty(name="From", size=2, min=0, max=1, precision=4)  # type: ignore[valid-type]
    high: bpy.props.FloatVectorProperty(  # type: ignore[valid-type]
        name="To", size=2, min=0, max=1, precision=4, default=(1, 1)
    )
    view: bpy.props.StringProperty(**VIEW, options={"HIDDEN"})  # type: ignore[valid-type]

    kind = "BOX"
    hint = "Drag from one corner of the object to the opposite one"
    positive = True

    def _follow(self, at: tuple[float, float]) -> None:
        self._line = [self._line[0], at]

    def _keep(self) -> None:
        corners = np.clip([self._photo.fraction(*at) for at in self._line], 0.0, 1.0)
        self.low, self.high = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()

    def execute(self, context: Any) -> set[str]:
        """Adds the box, in the place of one that was there."""
        if min(abs(self.high[0] - self.low[0]), abs(self.high[1] - self.low[1])) < 1e-4:
            self.report({"WARNING"}, "The box has no area")
            return {"CANCELLED"}
        return self._store(context, "BOX", [tuple(self.low), tuple(self.high)], True, self.view)


class SA3D_OT_add_scribble(_Dragging, bpy.types.Operator):
    """Draw a line over the object in the photo, or with Ctrl over what is not of it. A click on a line selects it"""

    bl_idname = "sa3d.add_scribble"
    bl_label = "Scribble"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    line: bpy.props.CollectionProperty(type=bpy.types.OperatorMousePath)  # type: ignore[valid-type]
    positive: bpy.props.BoolProperty(**POSITIVE)  # type: ignore[valid-type]
    view: bpy.props.StringProperty(**VIEW, options={"HIDDEN"})  # type: ignore[valid-type]

    kind = "SCRIBBLE"
    hint = "Draw a line over the object"

    def _follow(self, at: tuple[float, float]) -> None:
        if at != self._line[-1]:
            self._line.append(at)

    def _keep(self) -> None:
        self.line.clear()
        for at in simplified(np.array(self._line), STRAY):
            self.line.add().loc = self._photo.fraction(*at)

    def execute(self, context: Any) -> set[str]:
        """Adds the line; ``line`` holds fractions of the photo."""
        if len(self.line) < 2:
            self.report({"WARNING"}, "A scribble has two points at least")
            return {"CANCELLED"}
        return self._store(context, "SCRIBBLE", [tuple(at.loc) for at in self.line], self.positive, self.view)


CLASSES = (SA3D_OT_add_click, SA3D_OT_add_box, SA3D_OT_add_scribble)


def register() -> None:
    """Adds the operators."""
    for one in CLASSES:
        bpy.utils.register_class(one)


def unregister() -> None:
    """Takes them away again."""
    pending.end()
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)

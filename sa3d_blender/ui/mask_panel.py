"""What the engine makes of the prompts in the photo that is looked at, in the tab SA3D."""

from __future__ import annotations

from typing import Any

import bpy

from .. import link
from ..operators.candidates import answer_here
from ..scene import mask_preview
from ..scene.prompt_store import active_object
from ..scene.views import active_capture, capture_of, seen_camera
from .jobs_panel import CURES, say

__all__ = ["CLASSES"]

MOST_HITS = 5


class SA3D_PT_mask(bpy.types.Panel):
    """The mask in this photo: by which segmenter, how sure, and what else may be meant."""

    bl_idname = "SA3D_PT_mask"
    bl_label = "Mask"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "SA3D"
    bl_parent_id = "SA3D_PT_objects"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs an object, and a photo to look at."""
        capture = active_capture(context.scene)
        camera = seen_camera(context.scene, context.space_data)
        return (
            capture is not None
            and active_object(capture) is not None
            and capture_of(context.scene, camera) == capture
            and "sa3d_view" in camera
        )

    def draw(self, context: Any) -> None:
        """What is known now."""
        layout = self.layout
        capture = active_capture(context.scene)
        prompted, camera = active_object(capture), seen_camera(context.scene, context.space_data)
        _draw_words(layout, prompted)
        answer = answer_here(context)
        asked = mask_preview.is_asked(mask_preview.place_of(capture, prompted, camera))
        if answer is not None and answer.what:
            say(layout, context, "ERROR", answer.what, answer.cure)
            cure = CURES.get(answer.code)
            if cure is not None:
                layout.operator(cure[0], icon=cure[1])
            return
        if answer is None or answer.mask is None:
            _draw_state(layout, capture, camera, asked)
            return
        row = layout.row()
        score = "" if answer.score is None else f", {answer.score:.0%} sure"
        row.label(text=f"{answer.segmenter or 'Drawn'}{score}", icon="TIME" if asked else "CHECKMARK")
        if answer.note:
            say(layout, context, "INFO", answer.note)
        if len(answer.candidates) > 1:
            _draw_candidates(layout, prompted, answer)
        _draw_hits(layout, answer)


def _draw_words(layout: Any, prompted: Any) -> None:
    row = layout.row(align=True)
    row.prop(prompted, "words", text="", placeholder="Or what it is called")
    row.operator("sa3d.find_words")


def _draw_state(layout: Any, capture: Any, camera: Any, asked: bool) -> None:
    row = layout.row()
    row.active = False
    if link.state() == "starting":
        row.label(text="Starting the engine", icon="TIME")
    elif link.state() == "dead":  # why, and what to do, is said once: below, with the button that does it
        row.label(text="No mask: the engine isn't running", icon="ERROR")
    elif asked:
        row.label(text="Finding the mask", icon="TIME")
    elif mask_preview.is_preparing(capture, camera):
        row.label(text="Looking at the photo", icon="TIME")
    else:
        row.label(text="Click the object in this photo")


def _draw_candidates(layout: Any, prompted: Any, answer: Any) -> None:
    row = layout.row(align=True)
    automatic = answer.candidate("auto")
    for one in ("auto", *(candidate.scale for candidate in answer.candidates)):
        text = "Auto" if one == "auto" else one.replace("-", " ").title().replace(" ", "-")
        found = automatic if one == "auto" else answer.candidate(one)
        depressed = prompted.scale == one or (one == "auto" and answer.candidate(prompted.scale) is None)
        button = row.row(align=True)
        button.operator("sa3d.choose_candidate", text=text, depress=depressed).scale = one
        button.active = found is not None


def _draw_hits(layout: Any, answer: Any) -> None:
    if not answer.hits:
        return
    column = layout.column(align=True)
    for number, hit in enumerate(answer.hits[:MOST_HITS]):
        text = f"{hit.words or 'Found'}, {hit.score:.0%}"
        column.operator("sa3d.choose_hit", text=text, icon="SELECT_SET").number = number
    if len(answer.hits) > MOST_HITS:
        column.label(text=f"and {len(answer.hits) - MOST_HITS} more, less sure")


CLASSES = (SA3D_PT_mask,)

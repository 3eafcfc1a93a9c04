"""What is saved in the .blend: the prompts of each object of each capture, and what the panel has been set to.

Prompts lie on their capture's collection, which is in the scene: so they go, come back and are copied together with
the cameras that they name, and each capture has a list of objects of its own.
"""

from __future__ import annotations

from typing import Any

import bpy

from .scene.views import is_capture

__all__ = ["CaptureState", "Prompt", "PromptPoint", "PromptedObject", "SceneState", "register", "unregister"]

KINDS = (
    ("CLICK", "Click", "A point on the object, or on what it is not"),
    ("BOX", "Box", "A box around the object"),
    ("SCRIBBLE", "Scribble", "A line drawn over the object, or over what it is not"),
)
QUALITIES = (
    ("draft", "Draft", "Minutes: enough to see whether the prompts are right"),
    ("good", "Good", "Enough for most objects"),
    ("best", "Best", "Takes longest: thin parts and fine relief"),
)


def _grown(prompted: Any, _context: Any) -> None:
    from . import shaping  # which is about jobs, and they about this

    shaping.grown(prompted)


class PromptPoint(bpy.types.PropertyGroup):
    """A place in a photo."""

    place: bpy.props.FloatVectorProperty(  # type: ignore[valid-type]
        name="Place", description="Fractions of the photo, from its top-left corner", size=2, precision=5
    )


class Prompt(bpy.types.PropertyGroup):
    """A click (one point), a box (two corners) or a scribble (a line), in one camera's photo."""

    kind: bpy.props.EnumProperty(name="Kind", items=KINDS)  # type: ignore[valid-type]
    camera: bpy.props.PointerProperty(name="View", type=bpy.types.Object)  # type: ignore[valid-type]
    positive: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="This", description="Whether it marks the object, or what is not the object", default=True
    )
    points: bpy.props.CollectionProperty(type=PromptPoint)  # type: ignore[valid-type]


class PromptedObject(bpy.types.PropertyGroup):
    """Something to be cut out: what was said about it. Its ``name`` is the artist's."""

    uid: bpy.props.StringProperty(options={"HIDDEN"})  # type: ignore[valid-type]
    words: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Text", description='What the object is called, such as "the red mug"; finds it without a click'
    )
    scale: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Scale",
        description='How much is meant by a click, in the segmenter\'s words; "auto" leaves it the choice',
        default="auto",
        options={"HIDDEN"},
    )
    prompts: bpy.props.CollectionProperty(type=Prompt)  # type: ignore[valid-type]
    active: bpy.props.IntProperty(name="Prompt", description="The selected prompt", default=-1)  # type: ignore[valid-type]
    # What was made of it: the engine's folder, which prompts that knows (asks.py), how often it was corrected.
    result: bpy.props.StringProperty(options={"HIDDEN"})  # type: ignore[valid-type]
    told: bpy.props.StringProperty(options={"HIDDEN"})  # type: ignore[valid-type]
    corrections: bpy.props.IntProperty(options={"HIDDEN"})  # type: ignore[valid-type]
    lam: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Lambda", description="How much evidence against the object weighs, at a slider of 0", default=1.0
    )
    grow: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Grow / Shrink",
        description=(
            "Take in more of what the photos are unsure about, or less. The mesh follows roughly; Apply makes it well"
        ),
        min=-1.0,
        max=1.0,
        step=1,
        precision=2,
        update=_grown,
    )


class CaptureState(bpy.types.PropertyGroup):
    """The objects of a capture."""

    objects: bpy.props.CollectionProperty(type=PromptedObject)  # type: ignore[valid-type]
    active: bpy.props.IntProperty(name="Object", description="The object that new prompts are for")  # type: ignore[valid-type]


class SceneState(bpy.types.PropertyGroup):
    """What the panel is about."""

    capture: bpy.props.PointerProperty(  # type: ignore[valid-type]
        name="Capture",
        description="The capture to work on",
        type=bpy.types.Collection,
        poll=lambda _self, collection: is_capture(collection),
    )
    quality: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Quality", description="How long training may take", items=QUALITIES
    )
    watch: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Watch", description="Turn to the photo that is being worked on and show the mask that was found there"
    )


CLASSES: tuple[Any, ...] = (PromptPoint, Prompt, PromptedObject, CaptureState, SceneState)


def register() -> None:
    """Puts ``sa3d`` on scenes and collections."""
    for one in CLASSES:
        bpy.utils.register_class(one)
    bpy.types.Scene.sa3d = bpy.props.PointerProperty(type=SceneState)
    bpy.types.Collection.sa3d = bpy.props.PointerProperty(type=CaptureState)


def unregister() -> None:
    """Takes them away; what they held stays in the file and is there again when the add-on is."""
    del bpy.types.Collection.sa3d
    del bpy.types.Scene.sa3d
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)

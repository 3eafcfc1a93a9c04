"""What the user has set for all files: where the engine comes from, what it computes on, where it keeps things."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy

from .client.environments import command_from, default_folder, existing_engine, python_in
from .client.process import EngineCommand, ProcessTransport, python_engine
from .client.transport import Transport
from .protocol.errors import EnvironmentFault

__all__ = [
    "PACKAGE",
    "engine_command",
    "launcher",
    "managed_folder",
    "preferences",
    "register",
    "request_defaults",
    "source_folder",
    "unregister",
]

PACKAGE = __package__.partition(".sa3d_blender")[0]  # Blender wants the extension's own name here

SOURCES = (
    ("MANAGED", "Managed", "An environment that this add-on installs in a folder of yours, and can remove again"),
    ("PYTHON", "Existing Python", "A Python of yours that has the engine's packages, with or without a GPU's Torch"),
    ("COMMAND", "Command", "A command that leads to an engine elsewhere, such as one on another machine"),
)
DEVICES = (
    ("auto", "Automatic", "A GPU if the engine can use one, otherwise the processor"),
    ("cpu", "CPU", "The processor"),
    ("cuda", "CUDA", "An NVIDIA GPU; the engine needs a Torch built for CUDA"),
    ("mps", "Metal", "The GPU of an Apple computer"),
)
SEGMENTERS = (
    ("auto", "Automatic", "The best one that is at hand"),
    ("sam-vit-h", "Segment Anything, Huge", "The most accurate one; slow without a GPU"),
    ("sam-vit-l", "Segment Anything, Large", "Nearly as accurate; slow without a GPU"),
    ("sam-vit-b", "Segment Anything, Base", "The smallest of its family"),
    ("mobile-sam", "MobileSAM", "Small, and quick on a processor"),
    ("clicknet", "ClickNet", "Comes with this add-on; nothing has to be downloaded"),
    ("graph-cut", "Graph Cut", "Looks at colours only; nothing has to be downloaded"),
)


class SA3D_AP_preferences(bpy.types.AddonPreferences):
    """The add-on's page in Blender's preferences."""

    bl_idname = PACKAGE

    engine: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Engine", description="Where the engine comes from that trains and segments", items=SOURCES
    )
    folder: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Folder",
        description="Where the engine is installed. A new or empty folder on a disk with some gigabytes free",
        subtype="DIR_PATH",
        default=str(default_folder()),
    )
    base_python: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Made with",
        description="The Python 3.11, 3.12 or 3.13 that the engine is installed with. Leave it empty to have one found",
        subtype="FILE_PATH",
    )
    python: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Python",
        description="The program python of an environment with the engine's packages, or that environment's folder",
        subtype="FILE_PATH",
    )
    command: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Command",
        description="What starts an engine that is installed elsewhere: ssh gpubox sa3d serve",
    )
    device: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Device", description="What the engine computes on", items=DEVICES
    )
    segmenter: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Segmenter", description="What finds the object in each photo", items=SEGMENTERS
    )
    cache_folder: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Cache",
        description="Where trained captures, results and weights are kept. Leave it empty for the engine's usual place",
        subtype="DIR_PATH",
    )
    mask_opacity: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Mask Opacity",
        description="How strongly the mask is drawn over the photo",
        subtype="FACTOR",
        default=0.5,
        min=0.05,
        max=1.0,
    )


def preferences() -> Any:
    """The add-on's preferences; their defaults where it was registered without being enabled, as tests do."""
    addon = bpy.context.preferences.addons.get(PACKAGE)
    if addon is not None and addon.preferences is not None:
        return addon.preferences
    usual = SA3D_AP_preferences.bl_rna.properties
    return SimpleNamespace(**{name: usual[name].default for name in SA3D_AP_preferences.__annotations__})


def request_defaults() -> dict[str, str]:
    """What goes with every request: ``device`` and ``segmenter``."""
    chosen = preferences()
    return {"device": chosen.device, "segmenter": chosen.segmenter}


def launcher() -> Callable[[], Transport]:
    """What starts the engine as it is set up now.

    Raises:
        EnvironmentFault: none is set up; the cure says where.
    """
    command = engine_command()
    return lambda: ProcessTransport(command)


def engine_command() -> EngineCommand:
    """How the engine is started as it is set up now. Raises EnvironmentFault as `launcher` does."""
    chosen = preferences()
    cache = _path(chosen.cache_folder)
    if chosen.engine == "COMMAND":
        return command_from(chosen.command)
    if chosen.engine == "PYTHON":
        return existing_engine(_path(chosen.python), source_folder(), cache)
    python = python_in(managed_folder())
    if not python.is_file():
        raise EnvironmentFault(
            "The engine isn't installed yet.", "Press Install Engine in the add-on's preferences, or choose another."
        )
    return python_engine(python, source_folder(), cache or None)


def managed_folder() -> Path:
    """Where the engine is installed, or would be."""
    return Path(_path(preferences().folder) or default_folder())


def source_folder() -> Path:
    """The folder with the engine's own code: the extension's, or the checkout."""
    return Path(__file__).resolve().parents[1]


def _path(text: str) -> str:
    """A path as it was typed or chosen, made absolute; empty stays empty."""
    return os.path.expanduser(bpy.path.abspath(text.strip())) if text.strip() else ""


def register() -> None:
    """Adds the page."""
    bpy.utils.register_class(SA3D_AP_preferences)


def unregister() -> None:
    """Takes it away again."""
    bpy.utils.unregister_class(SA3D_AP_preferences)

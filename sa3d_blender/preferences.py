"""What the user has set for all files: where the engine comes from, what it computes on, where it keeps things."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy

from .client.environments import command_from, default_folder, existing_engine
from .client.installed import look
from .client.locked import usual_build
from .client.process import EngineCommand, ProcessTransport, python_engine
from .client.transport import Transport
from .protocol.errors import EnvironmentFault

__all__ = [
    "PACKAGE",
    "absolute",
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
TORCH_BUILDS = (
    ("cpu", "For the CPU", "Small. On Linux it needs a package index that has this build"),
    ("cuda", "For CUDA", "Large. For Linux with an NVIDIA GPU; works without one too"),
)
PAGES = (
    ("ENGINE", "Engine", "Where the engine comes from, and whether it works"),
    ("WEIGHTS", "Weights", "What learned segmenters have to be downloaded, and under which licence"),
    ("CACHE", "Cache", "Where trained captures and results are kept, and how much there is of them"),
    ("KEYMAP", "Keymap", "The keys of the tools"),
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


_started: EngineCommand | None = None


class SA3D_AP_preferences(bpy.types.AddonPreferences):
    """The add-on's page in Blender's preferences."""

    bl_idname = PACKAGE

    page: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Page", description="What is shown below", items=PAGES, options={"SKIP_SAVE"}
    )
    engine: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Engine", description="Where the engine comes from that trains and segments", items=SOURCES
    )
    folder: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Folder",
        description="Where the engine is installed. A new or empty folder on a disk with some gigabytes free",
        subtype="DIR_PATH",
        default=str(default_folder()),
    )
    show_more: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="More", description="Show what the engine is installed with", options={"SKIP_SAVE"}
    )
    base_python: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Made With",
        description="The Python 3.11, 3.12 or 3.13 that the engine is installed with. Leave it empty to have one found",
        subtype="FILE_PATH",
    )
    torch_build: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Torch", description="The build of Torch that is installed", items=TORCH_BUILDS, default=usual_build()
    )
    package_index: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Package Index",
        description="Address of a further index that packages may come from, such as one with Torch for the CPU",
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

    def draw(self, context: Any) -> None:
        """Everything that can be set and done here."""
        from .ui.preferences_page import draw_page

        draw_page(self, context, managed_folder(), _differs())


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
    global _started
    command = _started = engine_command()
    return lambda: ProcessTransport(command)


def _differs() -> bool:
    """Whether the engine that runs was started with other settings than these."""
    from . import link

    if _started is None or link.state() not in ("starting", "ready"):
        return False
    try:
        return engine_command() != _started
    except EnvironmentFault:
        return True


def engine_command() -> EngineCommand:
    """How the engine is started as it is set up now. Raises EnvironmentFault as `launcher` does."""
    chosen = preferences()
    cache = absolute(chosen.cache_folder)
    if chosen.engine == "COMMAND":
        return command_from(chosen.command)
    if chosen.engine == "PYTHON":
        return existing_engine(absolute(chosen.python), source_folder(), cache)
    found = look(managed_folder())
    if found.python is not None:  # an outdated one as well: it may do, and the page says that it should be repaired
        return python_engine(found.python, source_folder(), cache or None)
    if found.state == "broken":
        raise EnvironmentFault("The engine is damaged.", "Press Repair Engine in the add-on's preferences.")
    raise EnvironmentFault(
        "The engine isn't installed yet.", "Press Install Engine in the add-on's preferences, or choose another."
    )


def managed_folder() -> Path:
    """Where the engine is installed, or would be."""
    return Path(absolute(preferences().folder) or default_folder())


def source_folder() -> Path:
    """The folder with the engine's own code: the extension's, or the checkout."""
    return Path(__file__).resolve().parents[1]


def absolute(text: str) -> str:
    """A path as it was typed or chosen, made absolute; empty stays empty."""
    return os.path.expanduser(bpy.path.abspath(text.strip())) if text.strip() else ""


def register() -> None:
    """Adds the page."""
    bpy.utils.register_class(SA3D_AP_preferences)


def unregister() -> None:
    """Takes it away again."""
    bpy.utils.unregister_class(SA3D_AP_preferences)

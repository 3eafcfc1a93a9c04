"""The Blender side of SA3D; importing it needs no bpy, registering it does."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["register", "unregister"]

# In this order: what is saved in the file first, what draws it last.
MODULES = (
    "translations",
    "properties",
    "preferences",
    "link",
    "jobs",
    "installing",
    "shaping",
    "scene.follow",
    "scene.originals",
    "scene.mask_preview",
    "scene.job_masks",
    "scene.job_view",
    "operators.import_result",
    "operators.import_capture",
    "operators.export_camera",
    "operators.find_poses",
    "operators.views",
    "operators.add_prompt",
    "operators.edit_prompts",
    "operators.candidates",
    "operators.steps",
    "operators.jobs",
    "operators.results",
    "operators.remesh",
    "operators.engine",
    "operators.storage",
    "tools.prompt_tools",
    "overlay.mask",
    "overlay.draw",
    "ui.training_preview",
    "ui.panel",
    "ui.status",
)


def _modules() -> list[Any]:
    return [import_module(f".{name}", __package__) for name in MODULES]


def register() -> None:
    """Called by Blender when the extension is enabled. All or nothing."""
    done: list[Any] = []
    try:
        for module in _modules():
            module.register()
            done.append(module)
    except Exception:
        for module in reversed(done):
            module.unregister()
        raise


def unregister() -> None:
    """Called by Blender when the extension is disabled."""
    for module in reversed(_modules()):
        module.unregister()

"""The Blender side of SA3D; importing it needs no bpy, registering it does."""

from __future__ import annotations

__all__ = ["register", "unregister"]


def register() -> None:
    """Called by Blender when the extension is enabled."""
    from .operators import import_result

    import_result.register()


def unregister() -> None:
    """Called by Blender when the extension is disabled."""
    from .operators import import_result

    import_result.unregister()

"""Blender's entry to the extension: it wants this file beside the manifest."""

from .sa3d_blender import register, unregister  # noqa: F401

"""The client of the engine's process; needs no Blender."""

"""Captures, prompts and results as Blender data."""

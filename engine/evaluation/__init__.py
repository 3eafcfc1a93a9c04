"""Measures against the truth: masks, meshes and pictures."""

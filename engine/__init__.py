"""The engine of SA3D for Blender: captures, fields, segmenters, lifting, meshes. Never imports bpy."""

__version__ = "0.1.0"

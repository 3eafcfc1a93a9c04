"""The engine of SA3D for Blender: captures, fields, segmenters, lifting, meshes. Never imports bpy."""

import os

# Has to be said before torch is loaded. Its threads would else spin while they wait for each other; where another
# program (such as Blender) keeps a core busy, small operations then take ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

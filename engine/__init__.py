"""The engine of SA3D for Blender: captures, fields, segmenters, lifting, meshes. Never imports bpy."""

import os

# Has to be said before torch is loaded. Its threads would else spin while they wait for each other; where another
# program (such as Blender) keeps a core busy, small operations then take ten times as long. Not to spin at all costs
# as much on a quiet machine: training on two threads is then no faster than on one. Some microseconds do for both.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

__version__ = "0.1.0"

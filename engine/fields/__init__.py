"""Radiance fields behind one small protocol: rendering, training, checkpoints."""

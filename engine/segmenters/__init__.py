"""Promptable 2D segmenters behind one protocol."""

"""Segment Anything in 3D with NeRFs (Cen et al., NeurIPS 2023): from 2D masks of some views to a mask in 3D."""

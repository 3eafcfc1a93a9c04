"""The engine's one Python API. The command line and the server call it and hold no logic of their own."""

from __future__ import annotations

from engine.objects import correct_result, mesh_again, reopen, segment_capture, undo_result, write_result
from engine.options import Options, SegmentOptions
from engine.prompted_view import attached_to_clicks, first_seed, prompt_places
from engine.segment import Segmented, make_mesh, object_probability, render_masks, segment
from engine.train import Trained, open_workspace, preset, split_views, train

__all__ = [
    "Options",
    "SegmentOptions",
    "Segmented",
    "Trained",
    "attached_to_clicks",
    "correct_result",
    "first_seed",
    "make_mesh",
    "mesh_again",
    "object_probability",
    "open_workspace",
    "preset",
    "prompt_places",
    "render_masks",
    "reopen",
    "segment",
    "segment_capture",
    "split_views",
    "train",
    "undo_result",
    "write_result",
]

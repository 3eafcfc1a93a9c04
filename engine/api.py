"""The engine's one Python API. The command line and the server call it and hold no logic of their own."""

from __future__ import annotations

from engine.captures.convert import convert_capture
from engine.captures.info import capture_info
from engine.encoding import encode_capture
from engine.import_field import import_field
from engine.known_distance import KnownDistance, known_distance
from engine.object_field import cut_result, object_field
from engine.object_views import PictureOptions, render_result
from engine.objects import correct_result, mesh_again, reopen, segment_capture, undo_result, write_result
from engine.options import MeshOptions, Options, SegmentOptions
from engine.prompted_view import attached_to_clicks, first_seed, prompt_places
from engine.segment import Segmented, make_mesh, object_probability, render_masks, segment
from engine.segmenters.text import Hit, TextPrompt
from engine.segmenters.weights import check_weights, get_weights, list_weights, remove_weights, weights_path
from engine.structure.poses import PosesOptions, find_poses
from engine.text_prompts import with_box
from engine.train import Trained, open_workspace, preset, split_views, train

__all__ = [
    "Hit",
    "KnownDistance",
    "MeshOptions",
    "Options",
    "PictureOptions",
    "PosesOptions",
    "SegmentOptions",
    "Segmented",
    "TextPrompt",
    "Trained",
    "attached_to_clicks",
    "capture_info",
    "check_weights",
    "convert_capture",
    "correct_result",
    "cut_result",
    "encode_capture",
    "find_poses",
    "first_seed",
    "get_weights",
    "import_field",
    "known_distance",
    "list_weights",
    "make_mesh",
    "mesh_again",
    "object_field",
    "object_probability",
    "open_workspace",
    "preset",
    "prompt_places",
    "remove_weights",
    "render_masks",
    "render_result",
    "reopen",
    "segment",
    "segment_capture",
    "split_views",
    "train",
    "undo_result",
    "weights_path",
    "with_box",
    "write_result",
]

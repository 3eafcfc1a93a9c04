"""Photos become embeddings once: progress, cancellation, going on, and nothing to do for a second object."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_capture import TinyCapture
from typer.testing import CliRunner

from engine import api
from engine.captures.load import load_capture
from engine.cli import app
from engine.encoding import encode_views, stoppable
from engine.progress import Job, Report
from engine.segmenters.base import Photo, Prediction, Prompts
from engine.segmenters.clicknet.segmenter import ClickNetSegmenter
from engine.segmenters.graph_cut import GraphCutSegmenter
from sa3d_blender.protocol.errors import Cancelled

SIDE = 64


class Counting:
    """An encoder that remembers which photos it was given."""

    name = "counting"
    scales: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.kept: dict[str, float] = {}
        self.batches: list[int] = []

    def is_encoded(self, photo: Photo) -> bool:
        return photo.key in self.kept

    def encode(self, photos: Sequence[Photo]) -> None:
        self.batches.append(len(photos))
        self.kept |= {str(photo.key): float(photo.rgb.mean()) for photo in photos}

    def set_image(self, photo: Photo) -> None:
        raise AssertionError("not asked for")

    def predict(self, prompts: Prompts) -> Prediction:
        raise AssertionError("not asked for")


def test_every_photo_is_encoded_once_with_its_pixels(tiny_capture: TinyCapture) -> None:
    views, encoder = load_capture(tiny_capture.folder).views, Counting()
    reports: list[Report] = []
    done = encode_views(encoder, views, SIDE, "cpu", Job(listener=reports.append))
    assert (done.now, done.before) == (len(views), 0) and len(encoder.kept) == len(views)
    assert min(encoder.kept.values()) > 0.01  # not the stand-ins that are asked after
    assert reports[-1].done == len(views) and all(report.seconds_left is not None for report in reports[1:])
    again = encode_views(encoder, views, SIDE, "cpu", Job())
    assert (again.now, again.before) == (0, len(views)) and encoder.batches == [1] * len(views)


def test_a_graphics_card_gets_several_photos_at_once(tiny_capture: TinyCapture) -> None:
    views, encoder = load_capture(tiny_capture.folder).views, Counting()
    encode_views(encoder, views, SIDE, "cuda", Job())
    assert max(encoder.batches) == 8 and sum(encoder.batches) == len(views)


def test_a_stopped_job_goes_on_where_it_was(tiny_capture: TinyCapture) -> None:
    views, encoder = load_capture(tiny_capture.folder).views, Counting()
    job = Job()
    job.listener = lambda report: job.cancel.set() if report.done >= 3 else None
    with pytest.raises(Cancelled):
        encode_views(encoder, views, SIDE, "cpu", job)
    assert 3 <= len(encoder.kept) < len(views)
    kept = len(encoder.kept)
    done = encode_views(encoder, views, SIDE, "cpu", Job())
    assert (done.now, done.before) == (len(views) - kept, kept)


def test_a_network_stops_between_two_layers() -> None:
    """Not only between photos: SAM's largest takes a minute for one."""
    ran: list[int] = []
    job = Job()

    class Layer(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            ran.append(1)
            job.cancel.set()
            return x

    net = torch.nn.Sequential(*(Layer() for _ in range(5)))
    with pytest.raises(Cancelled), stoppable(job):
        net(torch.zeros(1))
    assert len(ran) == 1
    net(torch.zeros(1))  # afterwards nothing watches any more
    assert len(ran) == 6


def test_nothing_happens_for_a_segmenter_without_embeddings(tiny_capture: TinyCapture) -> None:
    views = load_capture(tiny_capture.folder).views
    assert encode_views(GraphCutSegmenter(), views, SIDE, "cpu", Job()).now == 0


def test_the_command_says_what_it_did(tiny_capture: TinyCapture, own_cache: Path) -> None:
    command = ["encode", str(tiny_capture.folder), "--segmenter", "clicknet", "--json"]
    views = len(tiny_capture.names)
    for encoded in (views, 0):
        ran = CliRunner().invoke(app, command)
        assert ran.exit_code == 0, ran.output
        told = json.loads(ran.stdout)
        assert (told["segmenter"], told["encoded"], told["already"]) == ("clicknet", encoded, views - encoded)


def test_a_click_after_encoding_runs_no_encoder(tiny_capture: TinyCapture, own_cache: Path, monkeypatch) -> None:
    """The embeddings made ahead are the very ones that a segmentation asks for."""
    options = api.Options(own_cache, "cpu")
    api.encode_capture(tiny_capture.folder, "clicknet", None, "draft", options, Job())
    monkeypatch.setattr(ClickNetSegmenter, "_encode", lambda *_: pytest.fail("encoded again"))
    segmenter = ClickNetSegmenter(cache_dir=own_cache)
    side = api.preset("draft").max_side_px
    views = load_capture(tiny_capture.folder).views
    assert encode_views(segmenter, views, side, "cpu", Job()).now == 0
    from engine.captures.images import working_key
    from engine.workspace import over_white, working_photo

    rgb = over_white(working_photo(views[0], side)[1])
    segmenter.set_image(Photo(rgb, key=working_key(views[0], side)))
    assert segmenter.predict(Prompts(np.array([[20, 20]], np.float32), np.ones(1))).mask.shape == rgb.shape[:2]

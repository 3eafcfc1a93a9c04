"""What can be asked of the engine's process: each kind of request read from its body and handed to the API."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.server_body import Body
from engine.server_lanes import Answer, Kind, ServedJob
from sa3d_blender.protocol.messages import Request

if TYPE_CHECKING:  # torch takes seconds to load, and the first frame shouldn't wait for it
    from engine.options import Options, SegmentOptions
    from engine.prompts import UserPrompt
    from engine.server_lanes import Work
    from engine.server_live import LiveShapes
    from engine.server_preview import Previewer, PreviewRequest

__all__ = ["request_kinds"]

DEVICES = "auto, cpu, cuda or mps"


def request_kinds(device: str = "auto", cache: Path | None = None) -> Mapping[str, Kind]:
    """All kinds of requests by name; docs/protocol.md describes them.

    Args:
        device: for requests that name none. cache: the cache folder; by default as for the command line.
    """
    asked = _Requests(device, cache)
    kinds = {
        "info": Kind(asked.info),
        "doctor": Kind(asked.doctor),
        "open_capture": Kind(asked.open_capture),
        "find_poses": Kind(asked.find_poses, long=True),
        "prepare_view": Kind(asked.prepare_view),
        "prompt": Kind(asked.prompt),
        "mask": Kind(asked.mask),
        "train": Kind(asked.train, long=True),
        "segment": Kind(asked.segment, long=True),
        "correct": Kind(asked.correct, long=True),
        "undo": Kind(asked.undo, long=True),
        "mesh": Kind(asked.mesh, long=True),
        "shape": Kind(asked.shape),
        "weights_list": Kind(asked.weights_list),
        "weights_get": Kind(asked.weights_get, long=True),
        "weights_remove": Kind(asked.weights_remove),
        "cache_size": Kind(asked.cache_size),
        "cache_clear": Kind(asked.cache_clear, long=True),
    }
    return {name: replace(kind, work=_loaded(kind.work)) for name, kind in kinds.items()}


_loading = threading.Lock()


def _loaded(work: Work) -> Work:
    """The work once torch is there. Requests come on three threads, and torch can't be imported by two at a time:
    each then finds the other's modules half done, and no later import mends that."""

    def waits(request: Request, job: ServedJob) -> Answer:
        with _loading, suppress(ImportError):  # the work itself says what is missing, and some needs none of it
            import engine.api  # noqa: F401
        job.check()
        return work(request, job)

    return waits


class _Requests:
    """The requests' work, with what is kept from one to the next: the latest preview's segmenter, the latest object."""

    def __init__(self, device: str, cache: Path | None) -> None:
        self._device, self._cache = device, cache
        self._previewer: Previewer | None = None
        self._shapes: LiveShapes | None = None

    def info(self, request: Request, job: ServedJob) -> Answer:
        from engine.cache import Cache
        from engine.server_info import capabilities

        Body(request).done()
        Cache(self._folder).tidy()  # the first thing that every engine is asked, by itself
        return Answer(capabilities(self._folder, self._device))

    def doctor(self, request: Request, job: ServedJob) -> Answer:
        from engine.doctor import examine

        Body(request).done()
        findings = [asdict(finding) for finding in examine(self._folder)]
        return Answer({"findings": findings, "healthy": all(each["ok"] is not False for each in findings)})

    def open_capture(self, request: Request, job: ServedJob) -> Answer:
        from engine.server_capture import describe_capture

        body = Body(request)
        path = body.path("path")
        body.done()
        return describe_capture(path, self._folder, job)

    def find_poses(self, request: Request, job: ServedJob) -> Answer:
        from engine import api

        body = Body(request)
        photos, out, masks = body.path("photos"), body.path("out"), body.path("masks", None)
        usual = api.PosesOptions()
        side, frames = body.whole("max_side", usual.max_side, 200, 16_000), body.whole("frames", usual.frames, 3, 2000)
        how = api.PosesOptions(side, frames, body.text("camera", usual.camera), masks)
        options = self._options(body)
        body.done()
        return Answer(api.find_poses(photos, out, options, job, how))

    def prompt(self, request: Request, job: ServedJob) -> Answer:
        body = Body(request)
        with _user_prompt(body) as prompt:
            wanted = _preview_request(body, prompt)
            options = self._options(body)
            body.done()
            return self._preview().mask(wanted, options, job)

    def prepare_view(self, request: Request, job: ServedJob) -> Answer:
        body = Body(request)
        with _user_prompt(body) as prompt:
            wanted = _preview_request(body, prompt)
            options = self._options(body)
            body.done()
            return self._preview().encode(wanted, options, job)

    def mask(self, request: Request, job: ServedJob) -> Answer:
        from engine.results import MASKS, read_mask_levels
        from engine.whole_folder import settle

        body = Body(request)
        folder, view = body.path("result"), body.text("view")
        body.done()
        settle(folder)
        return Answer({"view": view}, {"mask": read_mask_levels(folder / MASKS / f"{Path(view).name}.png")})

    def train(self, request: Request, job: ServedJob) -> Answer:
        from engine import api
        from engine.captures.load import load_capture
        from engine.captures.scene_masks import with_masks

        body = Body(request)
        path, out = body.path("capture"), body.path("out", None)
        quality, kind, again = body.text("quality", "draft"), body.text("field", "tensorf"), body.flag("again")
        refine_poses, region, masks = body.flag("refine_poses"), body.corners("region"), body.text("masks", "auto")
        source, background = body.path("from", None), body.text("background", "white")
        options = self._options(body)
        body.done()
        capture = with_masks(load_capture(path), masks)
        for warning in capture.warnings:
            job.log(f"Warning: {warning}")
        if source is not None:
            trained = api.import_field(capture, source, options, job, out, again, background)
        else:
            trained = api.train(capture, quality, options, job, out, kind, again, refine_poses, region)
        return Answer(
            {
                "field": trained.folder.absolute(),
                "quality": trained.field.quality,
                "from_cache": trained.from_cache,
                "heldout_psnr_db": trained.field.mean_heldout_psnr_db,
                "heldout_views": trained.field.heldout_psnr_db,
                "left_out": trained.field.left_out,
                "seconds": job.timings,
            }
        )

    def segment(self, request: Request, job: ServedJob) -> Answer:
        from engine import api

        body = Body(request)
        capture, beside = body.path("capture"), body.paths("beside")
        out = body.path("out", None) or self._new_result()
        with _user_prompt(body) as prompt:
            wanted = _segment_options(body)
            options = self._options(body, budget=True)
            body.done()
            report = api.segment_capture(capture, prompt, wanted, options, out, job, beside)
        return _result(out, report)

    def correct(self, request: Request, job: ServedJob) -> Answer:
        from engine import api
        from engine.prompts import UserPrompt

        body = Body(request)
        folder, segmenter, scale = body.path("result"), body.text("segmenter", None), body.text("scale", None)
        prompt = UserPrompt(body.text("view"), body.points())
        options = self._options(body, budget=True)
        body.done()
        return _result(folder, api.correct_result(folder, prompt, options, job, segmenter, scale))

    def undo(self, request: Request, job: ServedJob) -> Answer:
        from engine import api

        body = Body(request)
        folder = body.path("result")
        options = self._options(body, budget=True)
        body.done()
        return _result(folder, api.undo_result(folder, options, job))

    def mesh(self, request: Request, job: ServedJob) -> Answer:
        from engine import api

        body = Body(request)
        folder, out = body.path("result"), body.path("out", None)
        level, lam = body.number("level", None, 0.01, 0.99), body.number("lambda", None, 0.0, 1000.0)
        is_open, texture_px = body.flag("open", None), body.whole("texture_px", None, 0, 8192)
        options = self._options(body, budget=True)
        body.done()
        path = api.mesh_again(folder, options, job, level, lam, out, None, is_open, texture_px)
        return Answer({"mesh": path, "result": folder, "seconds": job.timings}, {"glb": _bytes_of(path)})

    def shape(self, request: Request, job: ServedJob) -> Answer:
        from engine.server_live import LiveShapes

        body = Body(request)
        folder = body.path("result")
        level, lam = body.number("level", 0.5, 0.01, 0.99), body.number("lambda", None, 0.0, 1000.0)
        options = self._options(body, budget=True)
        body.done()
        if self._shapes is None:
            self._shapes = LiveShapes()
        return self._shapes.shape(folder, lam, level, options, job)

    def weights_list(self, request: Request, job: ServedJob) -> Answer:
        from engine.segmenters.weights import list_weights

        Body(request).done()
        return Answer({"weights": [asdict(state) for state in list_weights(self._folder)]})

    def weights_get(self, request: Request, job: ServedJob) -> Answer:
        from engine.segmenters.weights import get_weights

        body = Body(request)
        name, mirror = body.text("name"), body.text("mirror", None)
        body.done()
        return Answer({"name": name, "path": get_weights(name, self._folder, job, mirror)})

    def weights_remove(self, request: Request, job: ServedJob) -> Answer:
        from engine.segmenters.weights import remove_weights

        body = Body(request)
        name = body.text("name")
        body.done()
        return Answer({"name": name, "bytes_freed": remove_weights(name, self._folder)})

    def cache_size(self, request: Request, job: ServedJob) -> Answer:
        from engine.cache import Cache

        Body(request).done()
        return Answer({"folder": self._folder, "bytes": Cache(self._folder).size_bytes()})

    def cache_clear(self, request: Request, job: ServedJob) -> Answer:
        from engine.cache import Cache

        Body(request).done()
        cache = Cache(self._folder)
        before = cache.size_bytes()
        cache.clear()
        return Answer({"folder": self._folder, "bytes_freed": before - cache.size_bytes()})

    @property
    def _folder(self) -> Path:
        from engine.cache import cache_root

        return cache_root(self._cache)

    def _new_result(self) -> Path:
        """A folder of its own in the cache, for clients that can't name one on this machine."""
        import uuid

        from engine.cache import Cache

        return Cache(self._folder).folder("results", uuid.uuid4().hex)

    def _preview(self) -> Previewer:
        from engine.server_preview import Previewer

        if self._previewer is None:
            self._previewer = Previewer()
        return self._previewer

    def _options(self, body: Body, budget: bool = False) -> Options:
        from engine.lifting.operators import OperatorBudget
        from engine.options import Options

        room = OperatorBudget()
        if budget:
            memory = body.whole("memory_mb", room.memory_mb, 0, 1 << 24)
            room = OperatorBudget(memory, body.whole("disk_mb", room.disk_mb, 0, 1 << 24))
        device, seed = body.text("device", self._device), body.whole("seed", 0, 0, 2**31 - 1)
        return Options(self._folder, device, seed, room)


@contextmanager
def _user_prompt(body: Body) -> Iterator[UserPrompt]:
    """The prompt in a body; painted pictures that come as arrays are files for as long as the work lasts."""
    from PIL import Image

    from engine.prompts import UserPrompt
    from engine.segmenters.text import TextPrompt

    view, points, box, words = body.text("view"), body.points(), body.box(), body.table("text")
    text = None
    if words is not None:
        usual = TextPrompt("")
        text = TextPrompt(
            words.text("words"),
            words.whole("hit", 1, 1, 1000),
            words.number("box_threshold", usual.box_threshold, 0.0, 1.0),
            words.number("text_threshold", usual.text_threshold, 0.0, 1.0),
            words.text("detector", usual.detector),
        )
        words.done()
    painted = {name: body.array(name, ("uint8",), (2, 3)) for name in ("scribble", "mask")}
    with tempfile.TemporaryDirectory(prefix="sa3d-") as folder:
        files: dict[str, Path] = {}
        for name, pixels in painted.items():
            if pixels is not None:
                files[name] = Path(folder, f"{name}.png")
                Image.fromarray(pixels).save(files[name])
        yield UserPrompt(view, points, box, files.get("scribble"), files.get("mask"), text)


def _preview_request(body: Body, prompt: UserPrompt) -> PreviewRequest:
    from engine.server_preview import PreviewRequest

    return PreviewRequest(
        body.path("capture"),
        prompt,
        body.text("segmenter", "auto"),
        body.path("weights", None),
        body.text("scale", None),
        body.text("quality", "draft"),
    )


def _segment_options(body: Body) -> SegmentOptions:

    from engine.lifting.settings import RULES
    from engine.options import MeshOptions, SegmentOptions
    from sa3d_blender.protocol.errors import PromptError

    rule = body.text("rule", "ours")
    if rule not in RULES:
        raise PromptError(f"There is no rule called {rule[:40]!r}.", f"Choose one of: {', '.join(RULES)}.")
    usual = RULES[rule]
    lifting = replace(
        usual,
        lam=body.number("lambda", usual.lam, 0.0, 1000.0),
        tau=body.number("tau", usual.tau, 0.0, 1.0),
        prompts=body.whole("prompts", usual.prompts, 1, 1000),
        views=body.number("views", usual.views, 0.001, 1.0),
        two_pass=body.flag("two_pass", usual.two_pass),
        boundary=body.flag("boundary", usual.boundary),
        scale=body.text("scale", None),
    )
    return SegmentOptions(
        body.text("quality", "draft"),
        body.text("segmenter", "auto"),
        body.path("weights", None),
        lifting,
        field_folder=body.path("field", None),
        mesh=MeshOptions(open=body.flag("open"), texture_px=body.whole("texture_px", None, 0, 8192)),
        region=body.corners("region"),
        masks=body.text("masks", "auto"),
    )


def _result(folder: Path, report: Mapping[str, Any]) -> Answer:
    """A result folder as an answer: its report, its scene, its mesh."""
    import json

    from engine.results import MESH, SCENE

    scene = json.loads((folder / SCENE).read_text(encoding="utf-8"))
    body = {"result": folder.absolute(), "mesh": folder.absolute() / MESH, "report": report, "scene": scene}
    return Answer(body, {"glb": _bytes_of(folder / MESH)})


def _bytes_of(path: Path) -> Any:
    import numpy as np

    return np.frombuffer(path.read_bytes(), np.uint8)

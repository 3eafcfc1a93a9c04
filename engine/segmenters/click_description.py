"""What has to be known of a click model to run it: inputs, sizes, colours, clicks and output, as a JSON file says."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.segmenters.click_encodings import ENCODINGS
from sa3d_blender.protocol.errors import SegmenterError

__all__ = ["CHANNELS", "ClickModel", "InputSize", "InputTensor", "ZoomIn", "built_in_click_models", "read_description"]

CHANNELS = {"image": 3, "positive": 1, "negative": 1, "previous": 1}  # what an input may consist of
SUFFIXES = (".onnx", ".pt", ".ts", ".torchscript")
RULES = ("stretch", "square", "multiple")
CURE = "See docs/click-models.md for what a description holds."


@dataclass(frozen=True)
class InputTensor:
    """An input of the model: ``channels`` (of CHANNELS) behind each other; ``name`` is used by ONNX models only."""

    name: str
    channels: tuple[str, ...]


@dataclass(frozen=True)
class InputSize:
    """What becomes of a photo, or of a crop of it, before the model sees it.

    ``rule``: ``stretch`` to ``pixels`` x ``pixels``, whatever the aspect; ``square``: the longest side becomes
    ``pixels``, zeros to the right and below fill the square; ``multiple``: the ``side`` ("longest" or "shortest")
    becomes ``pixels``, zeros fill both sides up to a multiple of ``multiple``. ``enlarge``: whether photos that are
    smaller already are scaled too.
    """

    rule: str
    pixels: int
    multiple: int = 1
    side: str = "longest"
    enlarge: bool = True


@dataclass(frozen=True)
class ZoomIn:
    """The second look that the published predictors take: only at the object's surroundings.

    ``pixels``: as the input size's, for the crop; ``expansion``: of the object's box; ``least``: the crop's least side
    in pixels of the photo; ``skip_clicks``: with so many clicks or fewer there is no crop; -1 takes a first look at
    the whole photo to find the crop where there is no previous mask.
    """

    pixels: int
    expansion: float = 1.4
    least: int = 200
    skip_clicks: int = 1


@dataclass(frozen=True)
class ClickModel:
    """A click model's interface.

    ``image_range``: colours lie in [0, image_range] before ``mean`` is taken off and ``std`` divided by; ``layout``:
    "NCHW" or "NHWC"; ``encoding`` and ``click_size``: see `click_encodings`; ``output``: the output's name in an ONNX
    file, "" for the first; ``output_kind``: "logits" or "probabilities"; ``output_channel``: where it has several;
    ``align_corners``: how pictures are resized: the corners' pixels on each other, as RITM and its kin do, or area by
    area; ``flip``: the mean with the mirrored photo's answer.
    """

    name: str
    inputs: tuple[InputTensor, ...]
    size: InputSize
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    image_range: float = 1.0
    layout: str = "NCHW"
    encoding: str = "disk"
    click_size: float = 5.0
    output: str = ""
    output_kind: str = "logits"
    output_channel: int = 0
    align_corners: bool = True
    flip: bool = False
    zoom: ZoomIn | None = None


def built_in_click_models() -> dict[str, ClickModel]:
    """The click models of the paper's table 8 as they were published, by name.

    Values are those of the authors' code: github.com/SamsungLabs/ritm_interactive_segmentation (b9b4460),
    github.com/uncbiag/SimpleClick (f33112e), github.com/XavierCHEN34/ClickSEG (0c801cf, FocalClick) and
    github.com/UX-Decoder/Segment-Everything-Everywhere-All-At-Once (7b2e76d, SEEM).
    """
    # isegm/model/is_model.py, the same in all three: colours in [0, 1] less ImageNet's mean by its deviation;
    # coord_features are the previous mask, then positive, then negative disks.
    image = InputTensor("image", ("image",))
    maps = InputTensor("maps", ("previous", "positive", "negative"))
    return {
        # models/iter_mask/hrnet*_itermask_3p.py: use_disks, norm_radius 5. interactive_demo: longest side at most 800
        # (--limit-longest-size). scripts/evaluate_model.py: ZoomIn to 400; the rest are ZoomIn's own values.
        # predictors/__init__.py: with_flip.
        "ritm": ClickModel(
            "ritm",
            (image, maps),
            InputSize("multiple", 800, enlarge=False),
            flip=True,
            zoom=ZoomIn(400, expansion=1.4, least=200, skip_clicks=1),
        ),
        # models/iter_mask/plainvit_*448_*.py: disks of 5, 448 x 448. scripts/evaluate_model.py, mode cvpr: ZoomIn to
        # (448, 448) with skip_clicks -1, so that whole photos are stretched too.
        "simpleclick": ClickModel(
            "simpleclick",
            (image, maps),
            InputSize("stretch", 448),
            flip=True,
            zoom=ZoomIn(448, expansion=1.4, least=200, skip_clicks=-1),
        ),
        # predictors/focalclick.py: ResizeTrans to infer_size 256 squared, also after ZoomIn; is_segformer_model.py and
        # is_hrnet_model.py: base_radius 5 in S2 models. transforms/zoom_in.py: min_crop_size 10. README: 256 x 256.
        "focalclick": ClickModel(
            "focalclick",
            (image, maps),
            InputSize("stretch", 256),
            zoom=ZoomIn(256, expansion=1.4, least=10, skip_clicks=1),
        ),
        # configs/seem/*_v1.yaml: PIXEL_MEAN and PIXEL_STD for colours up to 255, SIZE_DIVISIBILITY 32, DILATION 3;
        # demo/seem/tasks/interactive.py: the shortest side becomes 512. seem_model_v1.py, evaluate_interactive:
        # masks of positive and of negative clicks, prev_mask as logits of the answer, a sigmoid at the end.
        "seem": ClickModel(
            "seem",
            (
                image,
                InputTensor("positive", ("positive",)),
                InputTensor("negative", ("negative",)),
                InputTensor("previous", ("previous",)),
            ),
            InputSize("multiple", 512, multiple=32, side="shortest"),
            mean=(123.675, 116.280, 103.530),
            std=(58.395, 57.120, 57.375),
            image_range=255.0,
            encoding="square",
            click_size=3,
            align_corners=False,
        ),
    }


def read_description(path: Path) -> tuple[ClickModel, Path, str | None]:
    """A description in JSON: the click model, its file (which lies beside the description), its sha256 if given.

    ``like`` takes all values that aren't given from a built-in model.

    Raises:
        SegmenterError: the file can't be read, holds unknown or unfit values, or names no model file.
    """
    try:
        found = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise SegmenterError(
            f"The click model's description {path} can't be read: {error.strerror}.", "Check the path."
        ) from error
    except ValueError as error:  # no JSON, or no UTF-8
        raise SegmenterError(f"The click model's description {path} is no JSON: {error}.", CURE) from error
    fields = _Fields(found, Path(path).name)
    file = fields.text("file")
    if Path(file).name != file or not file.lower().endswith(SUFFIXES):
        raise fields.wrong("file", f"the name of a file beside it that ends in {', '.join(SUFFIXES)}")
    digest = fields.text("sha256", "").lower() or None
    if digest is not None and (len(digest) != 64 or set(digest) - set("0123456789abcdef")):
        raise fields.wrong("sha256", "64 hexadecimal digits")
    model = _model(fields, Path(path))
    fields.finish()
    return model, Path(path).parent / file, digest


def _model(fields: _Fields, path: Path) -> ClickModel:
    known = built_in_click_models()
    like = fields.choice("like", ("", *known), "")
    base = known[like] if like else None
    if base is None:
        fields.need("inputs", "size")
        base = ClickModel("", (), InputSize("", 0))
    model = ClickModel(
        name=fields.text("name", path.stem),
        inputs=_inputs(fields) if fields.has("inputs") else base.inputs,
        size=_size(fields.part("size")) if fields.has("size") else base.size,
        mean=fields.colour("mean", base.mean),
        std=fields.colour("std", base.std),
        image_range=fields.positive("image_range", base.image_range),
        layout=fields.choice("layout", ("NCHW", "NHWC"), base.layout),
        encoding=fields.choice("encoding", tuple(ENCODINGS), base.encoding),
        click_size=fields.positive("click_size", base.click_size),
        output=fields.text("output", base.output),
        output_kind=fields.choice("output_kind", ("logits", "probabilities"), base.output_kind),
        output_channel=fields.whole("output_channel", base.output_channel, least=0),
        align_corners=fields.flag("align_corners", base.align_corners),
        flip=fields.flag("flip", base.flip),
        zoom=_zoom(fields) if fields.has("zoom") else base.zoom,
    )
    if 0 in model.std:
        raise fields.wrong("std", "three numbers other than 0")
    return model


def _inputs(fields: _Fields) -> tuple[InputTensor, ...]:
    items = fields.take("inputs")
    if not isinstance(items, list) or not items:
        raise fields.wrong("inputs", "a list of inputs, each with a name and channels")
    found = []
    for each in items:
        part = _Fields(each, f"{fields.file}, inputs")
        name, channels = part.text("name"), part.take("channels")
        if not isinstance(channels, list) or not channels or any(c not in CHANNELS for c in channels):
            raise part.wrong("channels", f"a list of {', '.join(CHANNELS)}")
        part.finish()
        found.append(InputTensor(name, tuple(channels)))
    used = [channel for each in found for channel in each.channels]
    if len(set(used)) < len(used) or not {"image", "positive"} <= set(used):
        raise fields.wrong("inputs", "the channels image and positive, and each channel at most once")
    return tuple(found)


def _size(part: _Fields) -> InputSize:
    size = InputSize(
        part.choice("rule", RULES),
        part.whole("pixels", least=8),
        part.whole("multiple", 1),
        part.choice("side", ("longest", "shortest"), "longest"),
        part.flag("enlarge", True),
    )
    part.finish()
    return size


def _zoom(fields: _Fields) -> ZoomIn | None:
    if fields.is_null("zoom"):
        return None
    part = fields.part("zoom")
    zoom = ZoomIn(
        part.whole("pixels", least=8),
        part.positive("expansion", 1.4),
        part.whole("least", 200),
        part.whole("skip_clicks", 1, least=-1),
    )
    part.finish()
    return zoom


class _Fields:
    """The values of a JSON object, each taken once and checked; what is left over at the end is unknown."""

    def __init__(self, values: object, file: str) -> None:
        self.file = file
        if not isinstance(values, dict):
            raise SegmenterError(f"The click model's description {file} holds no table of values.", CURE)
        self._values: dict[str, Any] = dict(values)

    def has(self, key: str) -> bool:
        return key in self._values

    def is_null(self, key: str) -> bool:
        if self._values.get(key, 0) is None:
            del self._values[key]
            return True
        return False

    def need(self, *keys: str) -> None:
        for key in keys:
            if key not in self._values:
                raise SegmenterError(f'The click model\'s description {self.file} lacks "{key}".', CURE)

    def take(self, key: str) -> Any:
        self.need(key)
        return self._values.pop(key)

    def part(self, key: str) -> _Fields:
        return _Fields(self.take(key), f"{self.file}, {key}")

    def wrong(self, key: str, expected: str) -> SegmenterError:
        return SegmenterError(f'In the click model\'s description {self.file}, "{key}" is not {expected}.', CURE)

    def text(self, key: str, default: str | None = None) -> str:
        value = self.take(key) if default is None else self._values.pop(key, default)
        if not isinstance(value, str) or (default is None and not value):
            raise self.wrong(key, "a text")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(key, default)
        if value not in choices:
            raise self.wrong(key, f"one of {', '.join(each for each in choices if each)}")
        return value

    def whole(self, key: str, default: int | None = None, least: int = 1) -> int:
        value = self.take(key) if default is None else self._values.pop(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 8192:
            raise self.wrong(key, f"a whole number from {least} to 8192")
        return value

    def positive(self, key: str, default: float) -> float:
        value = self._values.pop(key, default)
        if not _is_number(value) or value <= 0:
            raise self.wrong(key, "a number above 0")
        return float(value)

    def colour(self, key: str, default: tuple[float, float, float]) -> tuple[float, float, float]:
        value = self._values.pop(key, default)
        if not isinstance(value, list | tuple) or len(value) != 3 or not all(_is_number(each) for each in value):
            raise self.wrong(key, "three numbers (red, green, blue)")
        return float(value[0]), float(value[1]), float(value[2])

    def flag(self, key: str, default: bool) -> bool:
        value = self._values.pop(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def finish(self) -> None:
        if self._values:
            unknown = ", ".join(sorted(map(str, self._values)))
            raise SegmenterError(f"The click model's description {self.file} holds unknown values: {unknown}.", CURE)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

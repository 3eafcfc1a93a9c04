"""Click models (RITM, SimpleClick, FocalClick, SEEM and their like) behind the segmenter protocol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from engine.segmenters.base import Photo, Prediction, Prompts
from engine.segmenters.click_description import ClickModel, built_in_click_models, read_description
from engine.segmenters.click_encodings import click_map
from engine.segmenters.click_frame import Box, Frame, box_of, crop_around, overlap, resize
from engine.segmenters.click_runtime import ClickRuntime, load_click_runtime
from engine.segmenters.prompts import check_photo, check_prompts
from sa3d_blender.protocol.errors import PromptError, SegmenterError

__all__ = ["ClickModelSegmenter", "is_click_model", "make_click_model"]

BOX_SLACK = 0.05  # of a box's sides, by which a mask may reach beyond: boxes are dragged by hand
COARSEST = 64  # pixels of the input to one of the answer; what is coarser is a class or a score, no mask
FIRST_LOOK_STANDS = 0.5  # overlap of crop and photo from which a second look shows nothing new (as published)


def is_click_model(name: str) -> bool:
    """Whether ``name`` asks for a click model: the path of a description, or a built-in one's name."""
    return name.lower().endswith(".json") or name in built_in_click_models()


def make_click_model(
    name: str, weights_path: Path | None, device: str, log: Callable[[str], None] = lambda line: None
) -> ClickModelSegmenter:
    """The click model that a description (a path to a JSON file) or a built-in name and a model file make.

    Raises SegmenterError where either is missing or they do not fit, EnvironmentFault without onnxruntime.
    """
    if name.lower().endswith(".json"):
        if weights_path is not None:
            raise SegmenterError("A click model's description names its own file.", "Leave the weights out.")
        model, file, digest = read_description(Path(name))
        # Its path is its name: a result is taken up again by the segmenter's name.
        return ClickModelSegmenter(
            model, load_click_runtime(file, model, device, digest, log), str(Path(name).absolute())
        )
    model = built_in_click_models()[name]
    if weights_path is None:
        raise SegmenterError(
            f"The click model {name} needs its file, exported to ONNX or TorchScript.",
            f"Give --segmenter {name} --weights FILE; docs/click-models.md says how to export it.",
        )
    return ClickModelSegmenter(model, load_click_runtime(weights_path, model, device, None, log), name)


class ClickModelSegmenter:
    """A model from photo, click maps and previous mask to a mask. Nothing of it can be kept between prompts.

    These models know clicks only. A box without clicks counts as a click in its middle, and cuts the mask off; a hint
    without clicks as a click where it is thickest. Their score is how sure the mask is: sum of p inside over the same
    and the sum of p outside and of 1 - p inside, the IoU to expect if the probabilities were right.
    """

    scales: tuple[str, ...] = ()

    def __init__(self, model: ClickModel, runtime: ClickRuntime, name: str | None = None) -> None:
        self.name = model.name if name is None else name
        self.model = model
        self._runtime = runtime
        self._rgb: np.ndarray | None = None

    def set_image(self, photo: Photo) -> None:
        """Takes a photo. Raises PromptError where it is none."""
        self._rgb = check_photo(photo).rgb

    def predict(self, prompts: Prompts) -> Prediction:
        """The mask for clicks and previous mask. Raises PromptError, and SegmenterError where the model fails."""
        if self._rgb is None:
            raise SegmenterError("No photo has been set.", "Call set_image before predict.")
        height, width = self._rgb.shape[:2]
        if prompts.scale is not None:
            raise PromptError(f"{self.name} can't tell scales apart.", "Leave the scale out, or choose a SAM.")
        prompts = with_clicks(check_prompts(prompts, height, width))
        mask = self._look_twice(prompts, height, width)
        if prompts.box_px is not None:
            mask = _cut(mask, prompts.box_px)
        return Prediction(mask, expected_iou(mask))

    def _look_twice(self, prompts: Prompts, height: int, width: int) -> Float[np.ndarray, "h w"]:
        """The answer on the crop that the zoom asks for, else on the whole photo."""
        whole, zoom, previous = (0, 0, height, width), self.model.zoom, prompts.mask
        if zoom is None or (len(prompts.labels) <= zoom.skip_clicks and prompts.box_px is None):
            return self._look(whole, None, prompts, previous)
        first, known = None, previous
        if prompts.box_px is not None:
            corners = np.concatenate([prompts.box_px.reshape(2, 2), prompts.points_px[prompts.labels == 1]])
            (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
            box: Box | None = (int(top), int(left), int(bottom), int(right))
        else:
            if known is None or not (known > 0.5).any():
                first = known = self._look(whole, None, prompts, previous)
                # Clicks that come at once: the published predictors would have had an answer to the first of them.
                previous = first if previous is None and len(prompts.labels) > 1 else previous
            painted = known > 0.5
            if painted.any():
                columns, rows = prompts.points_px[prompts.labels == 1].astype(int).T
                painted[rows, columns] = True
            box = box_of(painted)
        if box is None:
            assert first is not None
            return first
        crop = crop_around(box, zoom.expansion, zoom.least, height, width)
        if first is not None and overlap(crop, whole) >= FIRST_LOOK_STANDS:
            return first
        return self._look(crop, zoom.pixels, prompts, previous)

    def _look(
        self, crop: Box, pixels: int | None, prompts: Prompts, previous: Float[np.ndarray, "h w"] | None
    ) -> Float[np.ndarray, "h w"]:
        """The model's answer to a crop of the photo, in the whole photo."""
        assert self._rgb is not None
        model, (height, width) = self.model, self._rgb.shape[:2]
        frame = Frame.fit(crop, model.size, model.align_corners, pixels)
        image = (frame.shrink(self._rgb) * model.image_range - np.array(model.mean, np.float32)) / np.array(
            model.std, np.float32
        )
        hint = np.zeros((height, width), np.float32) if previous is None else previous
        clicks = frame.clicks(prompts.points_px)
        maps = {
            label: click_map(model.encoding, model.click_size, clicks[prompts.labels == label], *frame.outer)[..., None]
            for label in (0, 1)
        }
        planes = {
            "image": frame.pad(image.astype(np.float32)),
            "previous": frame.pad(frame.shrink(hint[..., None])),
            "positive": maps[1],
            "negative": maps[0],
        }
        inputs = [np.concatenate([planes[name] for name in each.channels], axis=2) for each in model.inputs]
        answer = self._run(inputs, frame)
        if model.flip:
            mirrored = self._run([each[:, ::-1] for each in inputs], frame)
            answer = (answer + mirrored[:, ::-1]) / 2
        if model.output_kind == "logits":
            answer = 1 / (1 + np.exp(-np.clip(answer, -60, 60)))
        return frame.back(answer.astype(np.float32), height, width)

    def _run(self, inputs: list[np.ndarray], frame: Frame) -> Float[np.ndarray, "y x"]:
        """The model's answer at the frame's outer size, after making sure that it is one."""
        batch = [each[None] if self.model.layout == "NHWC" else each.transpose(2, 0, 1)[None] for each in inputs]
        found = self._runtime.run([np.ascontiguousarray(each, np.float32) for each in batch])
        plane = self._plane(found)
        (rows, columns), (height, width) = plane.shape, frame.outer
        bent = abs(rows * width - columns * height) > max(height, width)  # by more than a pixel
        if bent or rows * COARSEST < height or columns * COARSEST < width:
            raise SegmenterError(
                f"{self._label} answered {rows} x {columns} pixels to a picture of {height} x {width}.",
                "Correct the layout or the output in its description.",
            )
        if not np.isfinite(plane).all():
            raise SegmenterError(
                f"{self._label} answered values that are no numbers.",
                "Compare mean, std and image_range in its description with the model's, or export it in float32.",
            )
        if self.model.output_kind == "probabilities" and (plane.min() < -1e-3 or plane.max() > 1 + 1e-3):
            raise SegmenterError(
                f"{self._label} answered values from {plane.min():.3g} to {plane.max():.3g}, which are no "
                "probabilities.",
                'Set output_kind to "logits" in its description.',
            )
        return resize(plane[..., None], (height, width), self.model.align_corners)[..., 0]

    def _plane(self, found: np.ndarray) -> Float[np.ndarray, "y x"]:
        """The channel that is the mask, of [H, W], [C, H, W] or [1, C, H, W] (or with the channels last)."""
        channel = self.model.output_channel
        planes = found[0] if found.ndim == 4 and found.shape[0] == 1 else found
        if planes.ndim == 3:
            planes = planes.transpose(2, 0, 1) if self.model.layout == "NHWC" and found.ndim == 4 else planes
            if channel < len(planes):
                return planes[channel]
        elif planes.ndim == 2 and channel == 0 and planes.size > 0:
            return planes
        raise SegmenterError(
            f"{self._label} answered an array of the shape {list(found.shape)}, in which channel {channel} is no mask.",
            "Correct output, output_channel or layout in its description.",
        )

    @property
    def _label(self) -> str:
        return f"The click model {self.model.name}"


def with_clicks(prompts: Prompts) -> Prompts:
    """The prompts with a click on the object, from the box or the hint where the user gave none."""
    if (prompts.labels == 1).any():
        return prompts
    if prompts.box_px is not None:
        point = [(prompts.box_px[0] + prompts.box_px[2]) / 2, (prompts.box_px[1] + prompts.box_px[3]) / 2]
    else:
        assert prompts.mask is not None  # check_prompts refuses prompts that name no object
        inside = prompts.mask > prompts.mask.max() / 2
        depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
        point = [float(column) + 0.5, float(row) + 0.5]
    points = np.concatenate([np.array([point], np.float32), prompts.points_px])
    return Prompts(points, np.concatenate([[1], prompts.labels]), prompts.box_px, prompts.mask)


def expected_iou(mask: Float[np.ndarray, "h w"]) -> float:
    """The IoU of ``mask`` > 0.5 with the truth, were each pixel's probability right and none known of another."""
    inside = mask > 0.5
    union = float(inside.sum()) + float(mask[~inside].sum())
    return float(mask[inside].sum()) / union if inside.any() else 0.0


def _cut(mask: Float[np.ndarray, "h w"], box_px: Float[np.ndarray, " 4"]) -> Float[np.ndarray, "h w"]:
    slack_x, slack_y = BOX_SLACK * (box_px[2] - box_px[0]), BOX_SLACK * (box_px[3] - box_px[1])
    kept = np.zeros_like(mask)
    rows = slice(max(0, int(box_px[1] - slack_y)), int(np.ceil(box_px[3] + slack_y)))
    columns = slice(max(0, int(box_px[0] - slack_x)), int(np.ceil(box_px[2] + slack_x)))
    kept[rows, columns] = mask[rows, columns]
    return kept

"""Segment Anything (ViT-H, L, B) and MobileSAM: the photo is encoded once, prompts cost a decoder call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.segmenters.base import Candidate, Photo, Prediction, Prompts
from engine.segmenters.embeddings import EmbeddingStore
from engine.segmenters.mobile_sam import build_mobile_sam, published_to_ours
from engine.segmenters.prompts import check_photo, check_prompts
from engine.segmenters.scales import check_scale
from engine.segmenters.torchvision_ops import ensure_torchvision_imports
from sa3d_blender.protocol.errors import EnvironmentFault, SegmenterError

__all__ = ["SCALES", "SamSegmenter", "build_sam", "encoder_precision", "low_res_logits"]

SCALES = ("sub-part", "part", "whole")
# A hint's logits are held within these bounds: SAM was trained on its own logits, which seldom leave them.
_HINT_LOGIT = 8.0
MOBILE = "vit_t"  # how MobileSAM's authors name it
_KIND = "embedding"  # its name in the store


def build_sam(architecture: str, state_dict: dict[str, torch.Tensor] | None = None) -> torch.nn.Module:
    """The model ("vit_h", "vit_l", "vit_b", "vit_t") on the CPU in evaluation mode, with ``state_dict`` if given.

    "vit_t" is MobileSAM; its ``state_dict`` is in the published file's names.

    Raises EnvironmentFault where segment_anything is missing, SegmenterError for an unknown architecture or
    weights of another one.
    """
    ensure_torchvision_imports()
    try:
        from segment_anything import sam_model_registry
    except ImportError as error:
        raise EnvironmentFault(
            "The package segment-anything is not installed.",
            "Install the engine's SAM packages, or use the segmenter graph-cut.",
        ) from error
    if architecture == MOBILE:
        model = build_mobile_sam()
        state_dict = None if state_dict is None else published_to_ours(state_dict)
    elif architecture in sam_model_registry:
        model = sam_model_registry[architecture]()
    else:
        raise SegmenterError(f'There is no SAM called "{architecture}".', "Choose vit_h, vit_l, vit_b or vit_t.")
    if state_dict is not None:
        try:
            model.load_state_dict(state_dict)
        except RuntimeError as error:
            raise SegmenterError(
                f"The weights do not fit SAM {architecture}.", "Choose the segmenter these weights were made for."
            ) from error
    return model.eval()


def low_res_logits(mask: np.ndarray, image_size: int, low_size: int) -> np.ndarray:
    """``mask`` [H, W] in [0, 1] as SAM's mask prompt: logits float32 [1, low, low].

    The photo fills the top-left corner of SAM's square input (longest side = ``image_size``); the rest is padding,
    here "surely outside".
    """
    height, width = mask.shape
    scale = image_size / max(height, width)
    inner = int(height * scale + 0.5), int(width * scale + 0.5)
    soft = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None]
    square = torch.zeros(1, 1, image_size, image_size)
    square[:, :, : inner[0], : inner[1]] = torch.nn.functional.interpolate(
        soft, inner, mode="bilinear", align_corners=False, antialias=True
    )
    small = torch.nn.functional.interpolate(square, (low_size, low_size), mode="area")[0]
    return torch.logit(small, eps=1e-6).clamp(-_HINT_LOGIT, _HINT_LOGIT).numpy()


def encoder_precision(device: torch.device) -> torch.dtype:
    """The numbers that the image encoder counts in: float16 on CUDA, whose tensor cores are made for it.

    The embedding is kept as float16 anyway. On a CPU and on MPS float32: there float16 is slow or incomplete. The
    decoder, a small part of the work, always counts in float32.
    """
    return torch.float16 if device.type == "cuda" else torch.float32


class SamSegmenter:
    """SAM behind the segmenter protocol, with embeddings kept in the user's cache.

    SAM answers every prompt with three masks, which its authors call whole, part and sub-part without saying which of
    them is which. Here they are told apart by size: for one prompt they lie in one another nearly always.
    """

    scales: tuple[str, ...] = SCALES

    def __init__(
        self,
        name: str,
        model: Any,
        device: str = "cpu",
        cache_dir: Path | None = None,
        weights_sha256: str = "",
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        """``model``: a segment_anything Sam. Embeddings are cached in ``cache_dir`` if the weights' hash is given."""
        ensure_torchvision_imports()
        from segment_anything import SamPredictor

        self.name = name
        self.model = model.to(device)
        self._predictor = SamPredictor(self.model)
        self._precision = encoder_precision(self._predictor.device)
        self._log = log
        key = f"sam {weights_sha256} {model.image_encoder.img_size} {self._precision}"
        stored = cache_dir is not None and bool(weights_sha256)
        self._store = EmbeddingStore(Path(cache_dir), key, log) if stored and cache_dir is not None else None

    def set_image(self, photo: Photo) -> None:
        """Encodes the photo or takes its stored embedding. Raises PromptError, StorageError, SegmenterError."""
        photo = check_photo(photo)
        height, width = photo.rgb.shape[:2]
        predictor = self._predictor
        predictor.reset_image()
        features = self._stored(photo)
        predictor.features = self._encode([photo])[0] if features is None else features
        predictor.original_size = (height, width)
        predictor.input_size = predictor.transform.get_preprocess_shape(
            height, width, self.model.image_encoder.img_size
        )
        predictor.is_image_set = True

    def is_encoded(self, photo: Photo) -> bool:
        """Whether the store holds this photo's embedding."""
        height, width = photo.rgb.shape[:2]
        return self._store is not None and photo.key is not None and self._store.has(photo.key, height, width)

    def encode(self, photos: Sequence[Photo]) -> None:
        """Encodes photos of one size at once into the store. Raises PromptError, StorageError, SegmenterError."""
        self._encode([check_photo(photo) for photo in photos])

    def predict(self, prompts: Prompts) -> Prediction:
        """SAM's three masks as probabilities, and by default the one of the highest score.

        Raises:
            PromptError: the prompts say nothing, or ask for a scale that isn't among ``scales``.
            SegmenterError: no photo has been set.
        """
        predictor = self._predictor
        if not predictor.is_image_set:
            raise SegmenterError("No photo has been set.", "Call set_image before predict.")
        check_scale(self, prompts.scale)
        height, width = predictor.original_size
        scale, prompts = prompts.scale, check_prompts(prompts, height, width)
        hint = None
        if prompts.mask is not None:
            side = self.model.prompt_encoder.mask_input_size[0]
            hint = low_res_logits(prompts.mask, self.model.image_encoder.img_size, side)
        points, labels = (prompts.points_px, prompts.labels) if len(prompts.points_px) else (None, None)
        logits, scores, _ = predictor.predict(
            point_coords=points,
            point_labels=labels,
            box=prompts.box_px,
            mask_input=hint,
            multimask_output=True,
            return_logits=True,
        )
        order = np.argsort((logits > 0).sum((1, 2)), kind="stable")
        found = tuple(
            Candidate(
                torch.sigmoid(torch.from_numpy(logits[k].astype(np.float32))).numpy(),
                float(np.clip(scores[k], 0.0, 1.0)),
                SCALES[place],
            )
            for place, k in enumerate(order)
        )
        best = int(np.argmax(scores[order])) if scale is None else SCALES.index(scale)
        return Prediction(found[best].mask, found[best].score, found)

    def _stored(self, photo: Photo) -> Tensor | None:
        """The embedding [1, C, h, w] in float32; None where there is none that fits this model."""
        if self._store is None or photo.key is None:
            return None
        kept = self._store.read(photo.key, photo.rgb.shape[0], photo.rgb.shape[1])
        if kept is None:
            return None
        encoder = self.model.prompt_encoder
        if _KIND not in kept or kept[_KIND].shape != (1, encoder.embed_dim, *encoder.image_embedding_size):
            self._log("A stored embedding does not fit this SAM; the photo is encoded again.")
            return None
        return kept[_KIND].to(self._predictor.device, torch.float32)

    def _encode(self, photos: Sequence[Photo]) -> list[Tensor]:
        """The embedding of each photo; those that are kept are rounded first, so that both give the same masks."""
        square = torch.cat([self._prepared(photo) for photo in photos])
        found = []
        for photo, features in zip(photos, self._embed(square).float().split(1), strict=True):
            if self._store is not None and photo.key is not None:
                half = features.to(torch.float16)
                self._store.write(photo.key, photo.rgb.shape[0], photo.rgb.shape[1], {_KIND: half})
                found.append(half.to(torch.float32))
            else:
                found.append(features)
        return found

    def _prepared(self, photo: Photo) -> Tensor:
        """The photo as SAM's encoder wants it: resized, normalised, padded, [1, 3, side, side]."""
        predictor = self._predictor
        resized = predictor.transform.apply_image(np.round(photo.rgb * 255.0).astype(np.uint8))
        planes = torch.as_tensor(resized, device=predictor.device).permute(2, 0, 1).contiguous()[None]
        prepared: Tensor = self.model.preprocess(planes)
        return prepared

    @torch.no_grad()
    def _embed(self, square: Tensor) -> Tensor:
        """Runs the encoder; where the graphics card's memory is too small, on half of the pictures at a time."""
        device = self._predictor.device
        half = self._precision != torch.float32
        context = torch.autocast(device.type, self._precision) if half else contextlib.nullcontext()
        try:
            with context:
                found: Tensor = self.model.image_encoder(square)
            return found
        except torch.OutOfMemoryError as error:
            if len(square) == 1:
                raise self._failed(error) from error
            self._log(f"{len(square)} photos at once do not fit into the memory of {device}: half as many are tried.")
        except RuntimeError as error:
            raise self._failed(error) from error
        middle = len(square) // 2
        return torch.cat([self._embed(square[:middle]), self._embed(square[middle:])])

    def _failed(self, error: Exception) -> SegmenterError:
        return SegmenterError(
            f"SAM could not encode the photo on {self._predictor.device}: {str(error).splitlines()[0]}",
            "Choose a smaller SAM, or --device cpu.",
        )

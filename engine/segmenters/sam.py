"""Segment Anything (ViT-H, L or B): the photo is encoded once, prompts cost a decoder call."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from engine.segmenters.base import Photo, Prediction, Prompts
from engine.segmenters.prompts import check_photo, check_prompts
from engine.segmenters.torchvision_ops import ensure_torchvision_imports
from sa3d_blender.protocol.errors import EnvironmentFault, SegmenterError, StorageError

__all__ = ["SamSegmenter", "build_sam", "low_res_logits"]

# A hint's logits are held within these bounds: SAM was trained on its own logits, which seldom leave them.
_HINT_LOGIT = 8.0


def build_sam(architecture: str, state_dict: dict[str, torch.Tensor] | None = None) -> torch.nn.Module:
    """The SAM model ("vit_h", "vit_l", "vit_b") on the CPU in evaluation mode, with ``state_dict`` loaded if given.

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
    if architecture not in sam_model_registry:
        raise SegmenterError(f'There is no SAM called "{architecture}".', "Choose vit_h, vit_l or vit_b.")
    model = sam_model_registry[architecture]()
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


class SamSegmenter:
    """SAM behind the segmenter protocol, with embeddings kept on disk."""

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
        self.scales: tuple[str, ...] = ()
        self.model = model.to(device)
        self._predictor = SamPredictor(self.model)
        self._cache = None if cache_dir is None or not weights_sha256 else Path(cache_dir) / "embeddings"
        self._weights_sha256 = weights_sha256
        self._log = log

    def set_image(self, photo: Photo) -> None:
        """Encodes the photo or takes its cached embedding. Raises PromptError, StorageError, SegmenterError."""
        photo = check_photo(photo)
        pixels = np.round(photo.rgb * 255.0).astype(np.uint8)
        path = self._embedding_path(photo.key, pixels.shape[0], pixels.shape[1])
        features = None if path is None else self._cached(path)
        if features is None:
            try:
                self._predictor.set_image(pixels)
            except RuntimeError as error:
                self._predictor.reset_image()
                raise SegmenterError(
                    f"SAM could not encode the photo on {self._predictor.device}: {str(error).splitlines()[0]}",
                    "Choose a smaller SAM, or --device cpu.",
                ) from error
            # Rounded in both cases: a cached photo must give the very masks that a fresh one gives.
            if path is not None:
                half = self._predictor.features.to(torch.float16)
                self._store(path, half)
                self._predictor.features = half.to(torch.float32)
            return
        predictor = self._predictor
        predictor.reset_image()
        predictor.features = features.to(predictor.device)
        predictor.original_size = pixels.shape[:2]
        predictor.input_size = predictor.transform.get_preprocess_shape(
            pixels.shape[0], pixels.shape[1], self.model.image_encoder.img_size
        )
        predictor.is_image_set = True

    def predict(self, prompts: Prompts) -> Prediction:
        """The best of SAM's three masks, as probabilities. Raises PromptError, and SegmenterError without a photo."""
        predictor = self._predictor
        if not predictor.is_image_set:
            raise SegmenterError("No photo has been set.", "Call set_image before predict.")
        height, width = predictor.original_size
        prompts = check_prompts(prompts, height, width)
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
        best = int(np.argmax(scores))
        mask = torch.sigmoid(torch.from_numpy(logits[best].astype(np.float32))).numpy()
        return Prediction(mask, float(np.clip(scores[best], 0.0, 1.0)))

    def _embedding_path(self, key: str | None, height: int, width: int) -> Path | None:
        if self._cache is None or key is None:
            return None
        side = self.model.image_encoder.img_size
        name = hashlib.sha256(f"{key}|{self._weights_sha256}|{height}x{width}|{side}".encode()).hexdigest()[:32]
        return self._cache / f"{name}.safetensors"

    def _cached(self, path: Path) -> torch.Tensor | None:
        """The embedding in ``path`` as float32 [1, C, h, w]; None where there is none or it can't be used."""
        if not path.is_file():
            return None
        try:
            features = load_file(path)["embedding"].to(torch.float32)
        except (SafetensorError, KeyError, OSError) as error:
            self._log(f"A cached embedding is damaged ({type(error).__name__}); the photo is encoded again.")
            return None
        side = self.model.prompt_encoder.image_embedding_size
        if features.shape != (1, self.model.prompt_encoder.embed_dim, *side) or not torch.isfinite(features).all():
            self._log("A cached embedding does not fit this SAM; the photo is encoded again.")
            return None
        return features

    @staticmethod
    def _store(path: Path, embedding: torch.Tensor) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
            os.close(handle)
            try:
                save_file({"embedding": embedding.cpu().contiguous()}, temporary)
                os.replace(temporary, path)
            finally:
                Path(temporary).unlink(missing_ok=True)
        except (OSError, SafetensorError) as error:
            raise StorageError(
                f"The embedding of a photo can't be written to {path.parent}.", "Free disk space or choose --cache."
            ) from error

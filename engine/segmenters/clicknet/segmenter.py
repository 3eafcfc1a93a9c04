"""clicknet behind the segmenter protocol: a photo is encoded once, prompts cost a decoder call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engine.segmenters.base import Candidate, Photo, Prediction, Prompts
from engine.segmenters.clicked_parts import clicked_parts
from engine.segmenters.clicknet.backbone import BACKBONE_SHA256, Backbone
from engine.segmenters.clicknet.network import SCALES, ClickNet, Decoded, Embedding
from engine.segmenters.clicknet.prompt_maps import PromptTensors
from engine.segmenters.embeddings import EmbeddingStore
from engine.segmenters.prompts import check_photo, check_prompts
from engine.segmenters.scales import check_scale
from engine.segmenters.weights import file_sha256
from sa3d_blender.protocol.errors import SegmenterError

SHIPPED = Path(__file__).parent / "clicknet.safetensors"
LONGEST = 512  # pixels of the photo's longer side as the network sees it
_MULTIPLE = 32  # the coarsest stride
_FILL = 0.5  # grey beside the photo


class ClickNetSegmenter:
    """The embedded learned segmenter. Its masks are cut to what hangs together with the prompts."""

    name = "clicknet"
    scales: tuple[str, ...] = SCALES

    def __init__(
        self,
        weights: Path | None = None,
        device: str = "cpu",
        cache_dir: Path | None = None,
        log: Callable[[str], None] = lambda line: None,
        attached: bool = True,
    ) -> None:
        """``weights``: another file than the shipped one. Embeddings are kept in ``cache_dir`` if one is given.

        ``attached``: keep only parts of a mask that hold a positive click or lie on the rendered mask or box given.

        Raises:
            SegmenterError: the weights are missing, damaged or of another network.
            EnvironmentFault: a package is missing.
        """
        path = SHIPPED if weights is None else Path(weights)
        self.device, self.attached = torch.device(device), attached
        self._net = _load(path).to(self.device)
        self._backbone = Backbone().to(self.device)
        key = f"clicknet {file_sha256(path)} {BACKBONE_SHA256} {LONGEST}"
        self._store = None if cache_dir is None else EmbeddingStore(Path(cache_dir), key, log)
        self._embedding: Embedding | None = None
        self._size = (0, 0)

    def set_image(self, photo: Photo) -> None:
        """Encodes the photo or takes its stored embedding. Raises PromptError, StorageError."""
        photo = check_photo(photo)
        self._size = (photo.rgb.shape[0], photo.rgb.shape[1])
        self._embedding = self._stored(photo)
        if self._embedding is None:
            self._embedding = self._encode([photo])[0]

    def is_encoded(self, photo: Photo) -> bool:
        """Whether the store holds this photo's embedding."""
        height, width = photo.rgb.shape[:2]
        return self._store is not None and photo.key is not None and self._store.has(photo.key, height, width)

    def encode(self, photos: Sequence[Photo]) -> None:
        """Encodes photos of one size at once, for the store. Raises PromptError, StorageError."""
        self._encode([check_photo(photo) for photo in photos])

    def predict(self, prompts: Prompts) -> Prediction:
        """A part, the object and its group; by default the one with the highest predicted IoU.

        Raises:
            PromptError: the prompts say nothing, or ask for a scale that isn't among ``scales``.
            SegmenterError: no photo has been set.
        """
        if self._embedding is None:
            raise SegmenterError("No photo has been set.", "Call set_image before predict.")
        height, width = self._size
        check_scale(self, prompts.scale)
        scale, prompts = prompts.scale, check_prompts(prompts, height, width)
        with torch.inference_mode():
            decoded: Decoded = self._net.decoder(self._embedding, self._tensors(prompts))
            inner = _network_size(height, width)
            logits = F.interpolate(decoded.logits, _padded(inner), mode="bilinear", align_corners=False)
            logits = logits[..., : inner[0], : inner[1]]
            if inner != (height, width):
                logits = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
            masks = torch.sigmoid(logits)
        soft, scores = masks[0].float().cpu().numpy(), decoded.iou[0].float().cpu().numpy()
        if self.attached:
            shown = None if prompts.mask is None else prompts.mask > 0.5
            soft = np.stack([clicked_parts(mask, prompts, shown) for mask in soft])
        found = tuple(Candidate(soft[k], float(scores[k]), SCALES[k]) for k in range(len(SCALES)))
        best = int(scores.argmax()) if scale is None else SCALES.index(scale)
        return Prediction(found[best].mask, found[best].score, found)

    def _tensors(self, prompts: Prompts) -> PromptTensors:
        """The prompts in the network's pixels."""
        height, width = self._size
        inner = _network_size(height, width)
        ratio = torch.tensor([inner[1] / width, inner[0] / height])
        count = max(len(prompts.points_px), 1)
        points, labels = torch.zeros(1, count, 2), torch.full((1, count), -1)
        if len(prompts.points_px):
            points[0] = torch.from_numpy(prompts.points_px) * ratio
            labels[0] = torch.from_numpy(prompts.labels)
        box = torch.full((1, 4), float("nan"))
        if prompts.box_px is not None:
            box[0] = torch.from_numpy(prompts.box_px) * ratio.repeat(2)
        outer = _padded(inner)
        mask = torch.zeros(1, 1, outer[0] // 2, outer[1] // 2)
        if prompts.mask is not None:
            hint = torch.from_numpy(prompts.mask)[None, None]
            resized = F.interpolate(hint, inner, mode="bilinear", align_corners=False, antialias=True)
            padded = F.pad(2 * resized - 1, (0, outer[1] - inner[1], 0, outer[0] - inner[0]))
            mask = F.avg_pool2d(padded, 2)
        return PromptTensors(*(value.to(self.device) for value in (points, labels, box, mask)))

    def _stored(self, photo: Photo) -> Embedding | None:
        if self._store is None or photo.key is None:
            return None
        found = self._store.read(photo.key, *self._size)
        if found is None or set(found) != set(Embedding._fields):
            return None
        return Embedding(**{name: value.to(self.device, torch.float32) for name, value in found.items()})

    def _encode(self, photos: Sequence[Photo]) -> list[Embedding]:
        """The embedding of every photo, rounded as the store keeps it, so that both give the same masks."""
        rgb = torch.from_numpy(np.stack([photo.rgb for photo in photos])).permute(0, 3, 1, 2).to(self.device)
        inner = _network_size(*rgb.shape[-2:])
        outer = _padded(inner)
        with torch.inference_mode():
            small = F.interpolate(rgb, inner, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
            small = F.pad(small, (0, outer[1] - inner[1], 0, outer[0] - inner[0]), value=_FILL)
            levels = self._net.neck(self._backbone(small), small)
        # contiguous, as from the store: another order in memory is another order of sums
        half = [level.to(torch.float16).contiguous() for level in levels]
        found = []
        for k, photo in enumerate(photos):
            own = {name: level[k : k + 1] for name, level in zip(Embedding._fields, half, strict=True)}
            if self._store is not None and photo.key is not None:
                height, width = photo.rgb.shape[:2]
                self._store.write(photo.key, height, width, {name: value.cpu() for name, value in own.items()})
            found.append(Embedding(**{name: value.to(torch.float32) for name, value in own.items()}))
        return found


def _load(path: Path) -> ClickNet:
    net = ClickNet()
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SegmenterError(
            f"The weights of clicknet can't be read from {path}.", "Install the engine again, or choose graph-cut."
        ) from error
    wanted = {name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    shapes = {name: value.shape for name, value in state.items()}
    if shapes != {name: value.shape for name, value in wanted.items()}:
        raise SegmenterError(
            f"{path.name} holds weights of another network than this clicknet.", "Use the weights of this version."
        )
    net.load_state_dict({name: value.to(torch.float32) for name, value in state.items()}, strict=False)
    return _fused(net.eval().requires_grad_(False))


def _fused(net: ClickNet) -> ClickNet:
    """The same function with each batch normalisation worked into the convolution before it, in place."""
    for module in list(net.modules()):
        if isinstance(module, nn.Sequential):
            for k in range(len(module) - 1):
                convolution, norm = module[k], module[k + 1]
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    module[k], module[k + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    return net


def _network_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the photo as the network sees it."""
    scale = LONGEST / max(height, width)
    return max(_MULTIPLE, round(height * scale)), max(_MULTIPLE, round(width * scale))


def _padded(size: tuple[int, int]) -> tuple[int, int]:
    height, width = (-(-side // _MULTIPLE) * _MULTIPLE for side in size)
    return height, width

"""MobileSAM (Zhang et al. 2023): SAM's decoder on a TinyViT of 5 million parameters, quick without a graphics card.

The encoder is timm's TinyViT, the prompts' half segment_anything's. Two things differ from timm's classifier: its last
stage does not halve the resolution, so that 1024 pixels give SAM's 64 x 64 cells, and SAM's neck of two convolutions
takes the place of the classifying head. The published file names the same layers in TinyViT's original way.
"""

from __future__ import annotations

import re

from jaxtyping import Float
from torch import Tensor, nn

from engine.segmenters.torchvision_ops import ensure_torchvision_imports
from sa3d_blender.protocol.errors import EnvironmentFault

__all__ = ["build_mobile_sam", "published_to_ours"]

IMAGE_SIZE, CELLS, WIDTH = 1024, 64, 256

# From the published names to timm's, in this order. A stage's halving lies at the end of the one before it there, at
# its own beginning in timm.
_NAMES = (
    (r"\.c\.(weight)$", r".conv.\1"),
    (r"^patch_embed\.seq\.0\.", "patch_embed.conv1."),
    (r"^patch_embed\.seq\.2\.", "patch_embed.conv2."),
    (r"^layers\.(\d+)\.downsample\.", lambda found: f"stages.{int(found[1]) + 1}.downsample."),
    (r"^layers\.", "stages."),
)
_UNUSED = re.compile(r"attention_bias_idxs$|^norm_head\.|^head\.")  # what follows from the shape, and the classifier


class TinyVitEncoder(nn.Module):
    """Pictures of 1024 x 1024 to SAM's embeddings."""

    def __init__(self) -> None:
        super().__init__()
        ensure_torchvision_imports()
        try:
            from timm.layers import LayerNorm2d
            from timm.models.tiny_vit import TinyVit
        except ImportError as error:
            raise EnvironmentFault(
                "The package timm, which MobileSAM's encoder comes from, is not installed.",
                "Run `pip install --no-deps timm`, or choose another segmenter.",
            ) from error
        self.img_size = IMAGE_SIZE
        vit = TinyVit(
            num_classes=0,
            embed_dims=(64, 128, 160, 320),
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            drop_path_rate=0.0,
        )
        self.patch_embed, self.stages = vit.patch_embed, vit.stages
        halving = self.get_submodule("stages.3.downsample.conv2.conv")
        assert isinstance(halving, nn.Conv2d)
        halving.stride = (1, 1)
        self.neck = nn.Sequential(
            nn.Conv2d(320, WIDTH, 1, bias=False),
            LayerNorm2d(WIDTH, eps=1e-6),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
            LayerNorm2d(WIDTH, eps=1e-6),
        )

    def forward(self, x: Float[Tensor, "b 3 1024 1024"]) -> Float[Tensor, "b 256 64 64"]:
        """Normalised, padded pictures to embeddings."""
        found: Tensor = self.neck(self.stages(self.patch_embed(x)))
        return found


def build_mobile_sam() -> nn.Module:
    """MobileSAM with random weights: a segment_anything Sam around the small encoder.

    Raises EnvironmentFault where timm or segment_anything is missing.
    """
    encoder = TinyVitEncoder()
    from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    model: nn.Module = Sam(
        image_encoder=encoder,
        prompt_encoder=PromptEncoder(WIDTH, (CELLS, CELLS), (IMAGE_SIZE, IMAGE_SIZE), 16),
        mask_decoder=MaskDecoder(
            transformer_dim=WIDTH,
            transformer=TwoWayTransformer(depth=2, embedding_dim=WIDTH, num_heads=8, mlp_dim=2048),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
    return model


def published_to_ours(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published file's tensors under the names of `build_mobile_sam`; what is not used is left out."""
    prefix = "image_encoder."
    found = {}
    for name, value in state_dict.items():
        if not name.startswith(prefix):
            found[name] = value
            continue
        inner = name.removeprefix(prefix)
        if _UNUSED.search(inner):
            continue
        for pattern, replacement in _NAMES:
            inner = re.sub(pattern, replacement, inner)  # type: ignore[arg-type]
        found[prefix + inner] = value
    return found

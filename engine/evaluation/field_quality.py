"""How close a rendered view comes to its photo: PSNR, SSIM, and LPIPS where its weights are at hand."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from skimage.metrics import structural_similarity

from engine.evaluation.metrics import psnr
from engine.segmenters.torchvision_ops import ensure_torchvision_imports
from sa3d_blender.protocol.errors import EnvironmentFault

__all__ = ["LPIPS_BACKBONES", "Distance", "Quality", "lpips_at_hand", "lpips_distance", "quality", "ssim"]

BEST_PSNR_DB = 100.0  # of equal pictures, so that a mean over views stays a number
SSIM_SIDE_PX = 11  # of the Gaussian window, sigma 1.5 cut off at 3.5 sigma
NO_WEIGHTS = "no weights at hand"
# By name as in the package, the better known first; files as torchvision calls them, in torch hub's checkpoints.
LPIPS_BACKBONES = {"vgg": "vgg16-397923af.pth", "alex": "alexnet-owt-7be5be79.pth"}

Distance = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Quality:
    """``psnr_db`` (at most 100), ``ssim`` in [-1, 1], ``lpips`` (0: looks the same), None where it isn't measured."""

    psnr_db: float
    ssim: float
    lpips: float | None = None


def quality(
    image: Float[np.ndarray, "h w 3"], truth: Float[np.ndarray, "h w 3"], distance: Distance | None = None
) -> Quality:
    """A rendered view beside its photo, both in [0, 1]; LPIPS by ``distance``.

    Raises:
        Sa3dError: the shapes differ, or there are no pixels.
    """
    decibels = min(psnr(image, truth), BEST_PSNR_DB)
    return Quality(decibels, ssim(image, truth), None if distance is None else distance(image, truth))


def ssim(image: Float[np.ndarray, "h w 3"], truth: Float[np.ndarray, "h w 3"]) -> float:
    """Structural similarity of two pictures in [0, 1], mean over pixels and channels.

    With the settings of Wang et al. (2004), as radiance fields are compared: a Gaussian window of sigma 1.5 and
    covariances over n, not n - 1. NaN for pictures that are smaller than the window, 11 pixels.
    """
    if min(image.shape[:2]) < SSIM_SIDE_PX:
        return float("nan")
    found = structural_similarity(
        image, truth, channel_axis=-1, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(found)


def lpips_at_hand() -> tuple[str | None, str]:
    """(backbone by name, "") of the LPIPS that can be measured here, or (None, why there is none).

    The package brings its own layers but not the backbone's weights. They count where torchvision would keep them
    (``$TORCH_HOME/hub/checkpoints``); nothing is ever downloaded. They are tried out: what is damaged had better be
    known before hours of training than after.
    """
    for package in ("lpips", "torchvision"):
        if importlib.util.find_spec(package) is None:
            return None, f"package {package} not installed"
    backbone = next((name for name in LPIPS_BACKBONES if _weights(name).is_file()), None)
    if backbone is None:
        return None, NO_WEIGHTS
    try:
        lpips_distance(backbone, torch.device("cpu"))
    except EnvironmentFault as error:
        return None, error.what.rstrip(".")
    return backbone, ""


def _weights(backbone: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / LPIPS_BACKBONES[backbone]


def lpips_distance(backbone: str, device: torch.device) -> Distance:
    """LPIPS 0.1 (Zhang et al. 2018) as a function of two pictures [H, W, 3] in [0, 1].

    Raises:
        EnvironmentFault: the backbone's weights are damaged, or the package doesn't fit what else is installed.
    """
    ensure_torchvision_imports()
    try:
        import lpips
    except (ImportError, RuntimeError) as error:  # the latter is how torch says that torchvision is another's
        raise EnvironmentFault(
            f"The package lpips can't be imported: {error}.", "Install the extra `evaluation` again."
        ) from error

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision as that was called years ago
        # Random at first: asked for its weights, torchvision would download what isn't there.
        model = lpips.LPIPS(net=backbone, pnet_rand=True, verbose=False)
    try:
        stored = torch.load(_weights(backbone), map_location="cpu", weights_only=True)
        # The package cuts the backbone's features into slices but keeps their numbers: slice2.3.bias is features.3.bias
        own = {name: stored[f"features.{name.split('.', 1)[1]}"] for name in model.net.state_dict()}
        model.net.load_state_dict(own)
    except Exception as error:  # whatever torch, zip and pickle raise on a damaged file
        raise EnvironmentFault(
            f"LPIPS's weights in {_weights(backbone)} are damaged.", "Remove that file, or get it again."
        ) from error
    model = model.to(device).eval()

    @torch.no_grad()
    def distance(image: np.ndarray, truth: np.ndarray) -> float:
        pair = [torch.from_numpy(each).float().permute(2, 0, 1)[None].to(device) for each in (image, truth)]
        return float(model(*pair, normalize=True))

    return distance

"""Photos that don't fit the others while a field learns: black or foreign ones, and ones with an absurd pose."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MISFIT_DB, MISFIT_SPREADS = 5.0, 6.0  # below the median PSNR of all photos: both, in dB and in usual deviations
FITS_DB = 22.0  # a photo that is predicted so well shows the scene from where it says, however well the others fit
USUAL = 1.4826  # times the median absolute deviation is the standard deviation of a normal distribution
MOST_SHARE = 0.15  # of the photos: where more don't fit, the capture or the field is at fault
LOOK_AT = (0.1, 0.2, 0.35, 0.5)  # shares of the steps after which photos are compared
LEAST_RAYS = 64  # of a photo, below which nothing is said of it


class Misfits:
    """Sums up errors by photo; those far worse than the others are left out from then on.

    Args:
        views: how many photos there are.
        device: of the rays.
    """

    def __init__(self, views: int, device: torch.device) -> None:
        self.errors = torch.zeros(views, device=device)  # float32: MPS has nothing finer, and a photo is
        self.rays = torch.zeros(views, device=device)  # drawn from some hundred thousand times at most
        self.left_out = torch.zeros(views, dtype=torch.bool, device=device)

    def add(self, view: Int[Tensor, " r"], errors: Float[Tensor, " r"]) -> None:
        """Squared errors of rays of the photos ``view``."""
        self.errors.index_add_(0, view, errors)
        self.rays.index_add_(0, view, torch.ones_like(errors))

    def wanted(self, view: Int[Tensor, " r"]) -> Bool[Tensor, " r"]:
        """Which rays belong to photos that are not left out."""
        return ~self.left_out[view]

    def find(self) -> dict[int, float]:
        """Leaves out photos that don't fit: {photo: its PSNR in dB}, only those found now. Begins to sum up anew."""
        mse = (self.errors / self.rays.clamp_min(1)).cpu().numpy()
        seen = ((self.rays >= LEAST_RAYS) & ~self.left_out).cpu().numpy()
        self.errors.zero_()
        self.rays.zero_()
        if seen.sum() < 4:
            return {}
        values = -10 * np.log10(np.maximum(mse, 1e-10))
        middle = np.median(values[seen])
        spread = USUAL * float(np.median(np.abs(values[seen] - middle)))
        bad = seen & (values < min(middle - max(MISFIT_DB, MISFIT_SPREADS * spread), FITS_DB))
        if not bad.any() or bad.sum() + int(self.left_out.sum()) > max(1, int(MOST_SHARE * len(bad))):
            return {}
        self.left_out |= torch.from_numpy(bad).to(self.left_out.device)
        return {int(i): float(values[i]) for i in np.flatnonzero(bad)}

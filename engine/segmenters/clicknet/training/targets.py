"""What the simulated user wants: an instance, a part of it or its group; and what each output should then show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from engine.segmenters.clicknet.training.pictures import instances_of

PART, OBJECT, GROUP = 0, 1, 2
OTHER_WEIGHT = 0.3  # of the outputs that the user did not mean, at a first click that may mean them all
SMALLEST, LARGEST = 40, 0.7  # pixels, share of the picture


@dataclass(frozen=True)
class Target:
    """``masks`` bool [3, H, W]: part, object and group around the first click; ``meant``: the one that is wanted.

    ``ambiguous``: the three differ.
    """

    masks: Bool[np.ndarray, "3 h w"]
    meant: int
    ambiguous: bool

    @property
    def wanted(self) -> Bool[np.ndarray, "h w"]:
        """The mask the user has in mind."""
        return self.masks[self.meant]


def draw_targets(
    rng: np.random.Generator, identity: UInt8[np.ndarray, "h w 3"], count: int, thin_first: bool = False
) -> list[Target]:
    """``count`` targets of one picture (none where it shows nothing), without repetition while there are enough.

    ``thin_first``: rings, cords and tools are up to six times as likely as round things.
    """
    found = [i for i in instances_of(identity, SMALLEST) if (identity[..., 0] == i).mean() < LARGEST]
    if not found:
        return []
    chance = np.array([thinness(identity[..., 0] == i) if thin_first else 1.0 for i in found])
    chosen = rng.choice(found, min(count, len(found)), replace=False, p=chance / chance.sum()).tolist()
    chosen += [found[int(rng.integers(len(found)))] for _ in range(count - len(chosen))]
    return [_target(rng, identity, int(i)) for i in chosen]


def thinness(mask: Bool[np.ndarray, "h w"]) -> float:
    """How many times larger a mask is than the largest disc in it, from 1 to 6."""
    rows, columns = np.nonzero(mask)
    cut = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    depth = float(ndimage.distance_transform_edt(np.pad(cut, 1)).max())
    return float(np.clip(len(rows) / (np.pi * depth**2), 1, 6))


def _target(rng: np.random.Generator, identity: UInt8[np.ndarray, "h w 3"], instance: int) -> Target:
    whole = identity[..., 0] == instance
    group_number = int(identity[..., 2][whole][0])
    group = (identity[..., 2] == group_number) & (identity[..., 0] > 0)
    if group.mean() > LARGEST:
        group = whole
    parts = [p for p in np.unique(identity[..., 1][whole]) if p > 0]
    part = whole
    if parts:
        sizes = np.array([(whole & (identity[..., 1] == p)).sum() for p in parts], float)
        sizes[sizes < SMALLEST] = 0
        if sizes.sum() > 0:  # a click meets large parts more often than small ones
            part = whole & (identity[..., 1] == parts[int(rng.choice(len(parts), p=sizes / sizes.sum()))])
    masks = np.stack([part, whole, group])
    has_part, has_group = bool((part != whole).any()), bool((group != whole).any())
    kind = rng.random()
    meant = PART if has_part and kind < 0.18 else GROUP if has_group and kind > 0.85 else OBJECT
    return Target(masks, meant, has_part or has_group)

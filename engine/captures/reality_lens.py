"""The lens of RealityCapture and RealityScan: focal length for a frame of 36 mm, the rest in parts of the longer side.

Coefficients are k1 k2 k3 k4 t1 t2 of Brown's lens, where t1 and t2 are the other way round than OpenCV's p1 and p2: the
programs' own "OpenCV-compliant" export writes t2 before t1. Source: Epic's knowledge base, "RealityCapture XMP Camera
Math"; the shipped calibration.xml, whose exports multiply px and py by the same number of pixels as f; AliceVision's
importKnownPoses, Fraunhofer's camorph and Epic's own writer of such files agree. How the division model bends a picture
none of them says for certain, so it is not read.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.captures.brown import BrownLens, brown_camera
from engine.captures.images import PhotoHeader
from engine.captures.lens_fit import Fit

__all__ = ["reality_lens"]

_FRAME_MM = 36.0


def reality_lens(
    header: PhotoHeader,
    focal_35mm: float,
    centre: tuple[float, float],
    coefficients: Sequence[float],
    aspect: float = 1.0,
    skew: float = 0.0,
) -> Fit:
    """The lens of a photo with that header as a camera at the world's origin. Raises BadView.

    ``centre`` counts from the photo's middle, right and down; it and ``skew`` are parts of the photo's longer side.
    ``coefficients`` are k1 k2 k3 k4 t1 t2, ``aspect`` the focal length downwards over that to the right.
    """
    side = max(header.width, header.height)
    k1, k2, k3, k4, t1, t2 = coefficients
    right = focal_35mm * side / _FRAME_MM
    down = right * aspect
    return brown_camera(
        BrownLens(
            header.width,
            header.height,
            down,
            header.width / 2 + centre[0] * side,
            header.height / 2 + centre[1] * side,
            (k1, k2, k3, k4),
            (t2, t1),
            (right - down, skew * side),
        )
    )

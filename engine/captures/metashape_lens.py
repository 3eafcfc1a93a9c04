"""The lens in a calibration of Metashape's, or of PhotoScan's before version 1.2, which wrote other numbers.

Today's cx and cy count from the middle of the photo, and its p1 and p2 are the other way round than OpenCV's. PhotoScan
wrote two focal lengths fx and fy, a skew, cx and cy from the photo's corner, and p1 and p2 as OpenCV has them. Source:
"Metashape Professional User Manual" 2.3, "Agisoft Lens User Manual" 0.4, and for what b1 and b2 are of fx, fy and skew
agisoft.com/forum, topic 6437.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from engine.captures.brown import BrownLens, brown_camera
from engine.captures.lens_fit import Fit
from engine.captures.validate import BadView

__all__ = ["calibrated_lens"]

_KINDS = {
    "frame": "frame",
    "fisheye": "fisheye",
    "equidistant_fisheye": "fisheye",
    "equisolid_fisheye": "equisolid",
}


def calibrated_lens(sensor: Element | None) -> Fit:
    """The lens of a sensor (in the oldest files of a camera) as a camera at the world's origin. Raises BadView."""
    return brown_camera(_lens(sensor))


def _lens(sensor: Element | None) -> BrownLens:
    if sensor is None:
        raise BadView("its sensor is not in the file")
    calibrations = sensor.findall("calibration")
    adjusted = [each for each in calibrations if each.get("class") == "adjusted"]
    calibration = next(iter(adjusted or calibrations), None)
    written = sensor.get("type") if calibration is None else calibration.get("type") or sensor.get("type")
    if written is not None and written not in _KINDS:  # said first: a panorama needs no calibration
        raise BadView(f"its lens is of the type {written!r}, which no camera of one direction is")
    if calibration is None:
        raise BadView("its sensor is not calibrated")

    def value(name: str, usual: float = 0.0) -> float:
        text = calibration.findtext(name)
        return usual if text is None else float(text)

    try:
        width, height = _size(sensor, calibration)
        k = (value("k1"), value("k2"), value("k3"), value("k4"))
        q = (0.0, 0.0)
        if calibration.find("fx") is not None:
            f = value("fy", value("fx"))
            centre, p, b = (value("cx"), value("cy")), (value("p1"), value("p2")), (value("fx") - f, value("skew"))
        else:
            f = value("f")
            centre = (width / 2 + value("cx"), height / 2 + value("cy"))
            p, b, q = (value("p2"), value("p1")), (value("b1"), value("b2")), (value("p3"), value("p4"))
    except ValueError as error:
        raise BadView("its calibration holds something else where numbers should be") from error
    kind = _KINDS[written or "frame"]
    return BrownLens(width, height, f, *centre, k, p, b, kind, q)  # type: ignore[arg-type]


def _size(sensor: Element, calibration: Element) -> tuple[int, int]:
    """Width and height of the photos that the calibration is for. Raises ValueError."""
    for place in (calibration, sensor):
        resolution = place.find("resolution")
        if resolution is not None:
            return int(resolution.get("width", "")), int(resolution.get("height", ""))
    return int(calibration.findtext("width") or ""), int(calibration.findtext("height") or "")

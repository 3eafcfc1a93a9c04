"""Masks that say what of a photo belongs to the scene: white does, black doesn't (a background that doesn't follow).

They are named by the capture (``mask_path``), or lie in a folder ``masks`` beside the photos' folder. A folder of masks
with an objects.json beside it is a test capture's truth, instance numbers by pixel, and never a mask of the scene.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from engine.captures.capture import Capture, View
from engine.captures.images import IMAGE_SUFFIXES, of_mask, photo_header, stored_photo
from engine.captures.validate import BadView, Draft, examples, inside
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["FOLDER", "MODES", "are_silhouettes", "masked", "named_mask", "told_masks", "used_masks", "with_masks"]

FOLDER = "masks"
MODES = ("auto", "object", "ignore", "none")  # what masks are taken for; auto: what they look like
BLACK_BORDER = 0.95  # of a photo's border pixels: what stands free of it is one thing before nothing
_SAMPLE = 5  # masks whose pixels are looked at before a folder of them is believed


def named_mask(root: Path, written: object, draft: Draft) -> Draft:
    """The draft with the mask that the capture names for it. Raises CaptureError where that leads outside of the
    capture; BadView where it is missing, no picture, or not of the photo's size.
    """
    try:
        name, path = inside(root, written)
    except BadView as error:
        raise BadView("its mask_path is no path") from error
    if not path.is_file():
        raise BadView(f"its mask {name} is missing")
    _of_its_size(path, draft)
    return replace(draft, mask_path=path)


def masked(root: Path, drafts: Sequence[Draft]) -> tuple[list[Draft], list[str]]:
    """The drafts with the masks of the folder ``masks``, and what to tell about it.

    The folder counts only if it has a mask for every photo, by its name without suffix ("IMG_1.png" or
    "IMG_1.jpg.png" for IMG_1.jpg), and if some of them that are looked at hold nothing but 0 and 255.
    Raises CaptureError where it leads outside of the capture.
    """
    folder = root / FOLDER
    if (
        not drafts
        or any(draft.mask_path for draft in drafts)
        or not folder.is_dir()
        or (root / "objects.json").exists()
    ):
        return list(drafts), []
    inside(root, FOLDER)
    there = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES}
    found = [_beside(there, draft) for draft in drafts]
    without = [draft.name for draft, path in zip(drafts, found, strict=True) if path is None]
    if without:
        if len(without) == len(drafts):
            return list(drafts), []  # masks of something else
        told = f"The folder masks has none for {len(without)} of {len(drafts)} photos, so it is not used: "
        return list(drafts), [f"{told}{examples(without)}."]
    result = []
    try:
        for draft, path in zip(drafts, found, strict=True):
            assert path is not None
            inside(root, f"{FOLDER}/{path.name}")
            _of_its_size(path, draft)
            result.append(replace(draft, mask_path=path))
        for i in {round(i) for i in np.linspace(0, len(result) - 1, min(_SAMPLE, len(result)))}:
            path = result[i].mask_path
            assert path is not None
            if not _is_black_and_white(path):
                raise BadView(f"{path.name} holds more than black and white")
    except BadView as reason:
        return list(drafts), [f"The folder masks is not used: {reason}."]
    return result, []


def are_silhouettes(views: Sequence[View]) -> bool:
    """Whether the views' masks cut out one thing that stands free of the photos' borders, as on a turntable.

    Two kinds of masks are about: those of an object, outside of which nothing is to be there, and those that leave out
    what is in the way (a passer-by, the photographer's shadow), where the photo says nothing. In the first kind nearly
    all of a photo's border is black, and the masks differ: one that is the same in all photos is a frame, where the
    lens or the format shows nothing. Every view has to have a mask; some are looked at. Raises CaptureError where one
    of them can't be read.
    """
    if not views or any(view.mask_path is None for view in views):
        return False
    shares: list[float] = []
    looked: set[str] = set()
    for i in {round(i) for i in np.linspace(0, len(views) - 1, min(_SAMPLE, len(views)))}:
        border, content = _border(views[i])
        shares.append(float((border < 0.5).mean()))
        looked.add(content)
    if len(looked) == 1:
        return False
    return float(np.median(shares)) >= BLACK_BORDER


def _border(view: View) -> tuple[np.ndarray, str]:
    """Of a view's mask the pixels along its borders, in [0, 1], and the hash of all of its pixels."""
    digest, found = hashlib.sha256(), []
    with stored_photo(of_mask(view)) as mask:
        for rows, pixels in mask.bands():
            levels = pixels.mean(-1)
            digest.update(levels.tobytes())
            found += [levels[:, 0], levels[:, -1]]
            if rows.start == 0:
                found.append(levels[0])
            if rows.stop == mask.size[1]:
                found.append(levels[-1])
    return np.concatenate(found), f"{mask.size} {digest.hexdigest()}"


def with_masks(capture: Capture, mode: str) -> Capture:
    """The capture with its masks taken for what the user says, instead of what they look like.

    ``object``: where they are black, nothing is. ``ignore``: what is black there isn't trained on. ``none``: they are
    not used. ``auto``: as the capture was read.

    Raises:
        CaptureError: there is no such mode, or not every photo has the mask that ``object`` needs.
    """
    if mode not in MODES:
        raise CaptureError(f"Masks can't be taken for '{mode}'.", f"Choose one of: {', '.join(MODES)}.")
    if mode == "auto" or (mode == "none" and used_masks(capture) == "none"):
        return capture
    without = [view.name for view in capture.views if view.mask_path is None]
    if len(without) == len(capture.views):
        raise CaptureError("The capture has no masks.", "Put them into a folder masks beside that of the photos.")
    if mode == "object" and without:
        raise CaptureError(
            f"{len(without)} of {len(capture.views)} photos have no mask: {examples(without)}.",
            "Give every photo a mask, or take them for what isn't trained on (ignore).",
        )
    views = tuple(
        replace(view, silhouette=mode == "object", mask_path=None if mode == "none" else view.mask_path)
        for view in capture.views
    )
    own_alpha = not any(view.opaque for view in capture.views)  # else the reader has said so of all of them
    warnings = tuple(line for line in capture.warnings if line != told_masks(capture.views))
    told = told_masks(views) or "The photos' masks are not used."
    return replace(capture, views=views, has_alpha=own_alpha or mode == "object", warnings=(*warnings, told))


def used_masks(capture: Capture) -> str:
    """What a capture's masks are taken for: "object", "ignore", or "none" where it has none."""
    if any(view.silhouette for view in capture.views):
        return "object"
    return "none" if all(view.mask_path is None for view in capture.views) else "ignore"


def told_masks(views: Sequence[View]) -> str | None:
    """One sentence on what the views' masks are taken for; None where there are none."""
    count = sum(view.mask_path is not None for view in views)
    if not count:
        return None
    if any(view.silhouette for view in views):
        return "The photos' masks cut out one thing: where they are black, nothing is taken to be."
    return f"{count} of {len(views)} photos have a mask: what is black in it isn't trained on."


def _beside(there: dict[str, Path], draft: Draft) -> Path | None:
    name = PurePosixPath(draft.name)
    return there.get(name.name) or there.get(name.stem)


def _of_its_size(path: Path, draft: Draft) -> None:
    try:
        header = photo_header(path)
    except CaptureError as error:
        raise BadView(f"its mask is of no use: {error.what.rstrip('.')}") from error
    if (header.width, header.height) != (draft.header.width, draft.header.height):
        raise BadView(
            f"its mask {path.name} has {header.width} x {header.height} pixels, the photo {draft.header.width} x "
            f"{draft.header.height}"
        )


def _is_black_and_white(path: Path) -> bool:
    """Whether the picture holds nothing but 0 and 255 (JPEG's noise of a few levels aside), and some white."""
    try:
        with Image.open(path) as image:
            counts = np.array(image.convert("L").histogram(), np.int64)
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, struct.error, NotImplementedError) as error:
        raise BadView(f"{path.name} is damaged") from error
    levels = np.arange(256)
    tolerance = 24 if path.suffix.lower() in (".jpg", ".jpeg") else 0
    plain = counts[np.minimum(levels, 255 - levels) <= tolerance].sum() / counts.sum()
    return bool(plain > 0.98 and counts[levels > 127].sum() > 0)

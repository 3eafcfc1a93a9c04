"""The knobs of the lifting: the paper's own, and a switch for each thing in which we differ from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RuleName = Literal["ours", "paper"]
OrderName = Literal["overlap", "name"]


@dataclass(frozen=True)
class LiftingSettings:
    """How masks of single views become an object in 3D.

    The paper's knobs: ``lam`` (lambda) weighs evidence against the object, ``tau`` is the least IoU of an accepted
    view, ``prompts`` is n_p (with the paper's 3, one face of a thing of many colours may get them all), ``views`` the
    share of the views that vote (masks are rendered for all of them), ``decay`` the 3D decay of the confidence around
    selected points (Eq. 7 and 8).

    Ours, each of which can be switched off to measure it:

    - ``rule``: "ours" reads the evidence as a probability, normalised by opacity; "paper" as ``V = F - lambda B > 0``.
    - ``trust``: a mask that the user has prompted, and so has seen, counts as so many others. (Powers of two keep sums
      exact.)
    - ``order``: "overlap" walks outward from the prompted view by how much of the object's surroundings views have in
      common; "name" takes file names.
    - ``hint``: the segmenter also gets the rendered mask, one half where no view has looked yet.
    - ``negatives``: negative points on what was voted out and on other objects.
    - ``boxes``: the segmenter also gets the rendered mask's bounding box. With 3 points, no box and clicknet a puzzle
      cube of six colours lost its sides; with both it keeps them, and thin rings gain most.
    - ``second_chance``: rejected views are tried again at the end.
    - ``anchored``: parts that hang together with nothing the prompted view shows are left out.
    - ``two_pass``: what the prompted view shows as misclassified becomes a second object that supplies negatives
      (appendix B).
    - ``spread``: where hardly any view votes, the object goes on in voxels that none has looked at, along surfaces of
      one colour.
    - ``agreement``: where the segmenter offers several masks (part, object, group), the one that agrees best with the
      rendered mask is taken, not the one it scores highest. Without, ``scale`` is asked for in every view.
    - ``clicked_parts``: parts of a 2D mask that hold no positive point and that the rendered mask doesn't know of are
      left out. Off: the rendered mask and the points leave little of the kind, and clicknet does as much itself.
    - ``scored``: a view votes with the weight of the segmenter's own estimate of its mask, in steps of one eighth.
    - ``boundary``: a graph cut on the voxels moves the object's surface to edges of colour, normal and density. Off: it
      gives some objects a little and costs others as much (see boundary.py).

    ``scale`` is the one that the user asked the segmenter for (see `Segmenter.scales`), None for its own choice.
    """

    lam: float = 1.0
    tau: float = 0.5
    prompts: int = 10
    views: float = 1.0
    decay: bool = True
    rule: RuleName = "ours"
    trust: float = 8.0
    order: OrderName = "overlap"
    hint: bool = True
    negatives: bool = True
    boxes: bool = True
    second_chance: bool = True
    anchored: bool = True
    two_pass: bool = False
    boundary: bool = False
    spread: bool = True
    agreement: bool = True
    clicked_parts: bool = False
    scored: bool = True
    scale: str | None = None


# The method exactly as published: its constants, its rule V > 0, its order, and none of what we added.
PAPER = LiftingSettings(
    lam=0.15,
    prompts=3,
    rule="paper",
    trust=1.0,
    order="name",
    hint=False,
    negatives=False,
    boxes=False,
    second_chance=False,
    anchored=False,
    spread=False,
    agreement=False,
    scored=False,
)

RULES: dict[str, LiftingSettings] = {"ours": LiftingSettings(), "paper": PAPER}

"""Boundary refinement: edges of colour, normal and density say where an object ends where its evidence doesn't.

Two steps on one graph of neighbouring voxels (6 each), whose links are weak between voxels of different colour or
normal and where there is thin air, and strong within matter that looks alike:

- `refine_boundary`: a minimum cut (Boykov and Jolly 2001) weighs the links against evidence of single voxels, which is
  noisy where masks of different views disagree by a pixel;
- `spread_to_unseen`: random walks (Grady 2006) give voxels that no view has looked at what their neighbours have.

Measured on the tabletop capture (draft field, six objects, mean IoU over the other views; constants chosen there):

    evidence                    as it is    cut       spread
    true mask of 1 view         .574        -.048     +.302
    true masks of 3 views       .826        -.027     +.122
    loop, 10 views              .914        +.001      .000
    loop, all 60 views          .913        +.001      .000
    true masks of all views     .963        -.001      .000

So the cut has to be asked for: with many views it gives the two worst objects of the loop .006 and .003, costs others
up to .002 (up to .004 with true masks), and does harm with few. Spreading is for what one to a few views have shown.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import maxflow
import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.sparse.linalg import cg

from engine.lifting.voxels import VoxelGrid

log = logging.getLogger(__name__)

NEVER = 1e3  # log odds that no smoothness outweighs
LEAST_CHANCE = 1e-3  # of a voxel, either way, when odds are taken


@dataclass(frozen=True)
class BoundarySettings:
    """How the cut weighs things.

    ``smoothness`` is the cost, in log odds, of parting two opaque voxels that look alike; ``colour`` and ``normal``
    are the differences (of RGB in [0, 1]; of unit vectors) that count as one; ``doubt`` the F + B at which evidence
    is believed by two thirds; ``reach`` the cells around the object that may change sides.
    """

    smoothness: float = 3.0
    colour: float = 0.15
    normal: float = 0.5
    doubt: float = 0.5
    reach: int = 2


@dataclass(frozen=True)
class SpreadSettings:
    """How far an object goes on where no view has looked.

    ``smoothness`` is the F + B that counts as much as one link between voxels that look alike.
    ``colour``, ``normal`` and ``reach`` as for the cut. Nothing spreads where the opacity is at most ``thin``: that is
    haze, most of the unseen voxels, and hardly shows. ``faint`` is the pull towards "not the object", beside links
    of at most 1: it decides where nothing else does, some 100 cells of one opaque matter away.
    """

    smoothness: float = 1.0
    colour: float = 0.1
    normal: float = 1.0
    thin: float = 0.03
    faint: float = 3e-5
    reach: int = 12


@dataclass(frozen=True)
class Neighbourhood:
    """The occupied voxels around an object, as a graph.

    ``voxels`` are their numbers, ``near`` says which are within reach (the others are the rim around these); ``first``
    and ``second`` index neighbouring pairs of them, ``links`` in [0, 1] are the pairs' strengths.
    """

    voxels: Int[np.ndarray, " n"]
    near: Bool[np.ndarray, " n"]
    first: Int[np.ndarray, " m"]
    second: Int[np.ndarray, " m"]
    links: Float[np.ndarray, " m"]


def refine_boundary(
    grid: VoxelGrid,
    probability: Float[np.ndarray, " n"],
    looked: Float[np.ndarray, " n"],
    opacity: Float[np.ndarray, "x y z"],
    colours: Float[np.ndarray, "n 3"] | None,
    settings: BoundarySettings | None = None,
    taken: Bool[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, " n"]:
    """The probabilities after the cut: above one half exactly on the cut's side of the object.

    A voxel that changes sides gets the opposite probability, so that the surface stays as soft as it was.

    Args:
        probability: of each occupied voxel to be the object's.
        looked: F + B, how much the views have looked at it.
        opacity: share of the light that a cell of the grid stops.
        colours: of the occupied voxels, RGB in [0, 1]; NaN where unknown. None: colours don't count.
        taken: voxels that another object holds; they never become this one's.
    """
    settings = settings or BoundarySettings()
    if not (probability > 0.5).any():
        return probability
    around = neighbourhood(grid, probability > 0.5, opacity, colours, settings.colour, settings.normal, settings.reach)
    before = probability[around.voxels]
    belief = 1 - np.exp(-looked[around.voxels] / settings.doubt)
    odds = np.log(np.clip(before, LEAST_CHANCE, 1) / np.clip(1 - before, LEAST_CHANCE, 1)) * belief
    shut = ~around.near if taken is None else ~around.near | taken[around.voxels]
    side = _cut(np.where(shut, -NEVER, odds), around, settings.smoothness)
    refined = probability.copy()
    refined[around.voxels] = np.where(side, np.maximum(before, 1 - before), np.minimum(before, 1 - before))
    # nothing becomes the object's that no view has looked at
    refined[around.voxels[before == 0]] = 0
    return refined


def spread_to_unseen(
    grid: VoxelGrid,
    probability: Float[np.ndarray, " n"],
    looked: Float[np.ndarray, " n"],
    opacity: Float[np.ndarray, "x y z"],
    colours: Float[np.ndarray, "n 3"] | None,
    settings: SpreadSettings | None = None,
    taken: Bool[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, " n"]:
    """The probabilities after each voxel has taken from its neighbours what its own evidence lacks.

    What views have looked at closely stays nearly as it is, what none has seen gets the probability that a random walk
    from it, more likely over strong links, ends on the object's side of what was seen: the x that minimises
    ``sum looked (x_i - p_i)^2 + smoothness sum links (x_i - x_j)^2 + faint sum x_i^2``.

    Args: as for `refine_boundary`; ``taken`` voxels stay as they are.
    """
    settings = settings or SpreadSettings()
    solid = opacity > settings.thin
    core = (probability > 0.5) & solid[grid.index >= 0]
    if not core.any():
        return probability
    around = neighbourhood(grid, core, opacity, colours, settings.colour, settings.normal, settings.reach, solid)
    before, belief = probability[around.voxels].astype(np.float64), looked[around.voxels].astype(np.float64)
    fixed = np.zeros(len(before), bool) if taken is None else taken[around.voxels]
    free = np.flatnonzero(~fixed)
    weights = settings.smoothness * np.r_[around.links, around.links]
    ends = np.r_[around.first, around.second], np.r_[around.second, around.first]
    links = scipy.sparse.coo_matrix((weights, ends), shape=(len(before), len(before))).tocsr()[free]
    pull = np.asarray(links.sum(1)).ravel() + belief[free] + settings.faint
    system = scipy.sparse.diags(pull) - links[:, free]
    given = belief[free] * before[free] + links[:, np.flatnonzero(fixed)] @ before[fixed]
    found, missed = cg(system, given, x0=before[free], rtol=1e-3, maxiter=500, M=scipy.sparse.diags(1 / pull))
    if missed:
        log.warning("Spreading an object to what no view has seen stopped early, after %d steps.", missed)
    spread = probability.copy()
    spread[around.voxels[free]] = np.clip(found, 0, 1)
    return spread


def neighbourhood(
    grid: VoxelGrid,
    inside: Bool[np.ndarray, " n"],
    opacity: Float[np.ndarray, "x y z"],
    colours: Float[np.ndarray, "n 3"] | None,
    colour: float,
    normal: float,
    reach: int,
    only: Bool[np.ndarray, "x y z"] | None = None,
) -> Neighbourhood:
    """The voxels within ``reach`` cells of those ``inside`` and the rim around them; settings as for the cut.

    ``only`` are the cells that count; None: all.
    """
    cells = grid.cells(np.flatnonzero(inside))
    low = np.maximum(cells.min(0) - reach - 1, 0)
    high = np.minimum(cells.max(0) + reach + 2, grid.shape)
    crop = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    index, opacity = grid.index[crop], opacity[crop]
    body = np.zeros(index.shape, bool)
    body[tuple((cells - low).T)] = True
    near = ndimage.binary_dilation(body, iterations=reach)
    here = ndimage.binary_dilation(near) & (index >= 0)
    if only is not None:
        here &= only[crop]
    voxels = index[here]
    node = np.full(index.shape, -1, np.int32)
    node[here] = np.arange(len(voxels), dtype=np.int32)
    pairs = []
    for axis in range(3):
        a, b = np.moveaxis(node, axis, 0)[:-1], np.moveaxis(node, axis, 0)[1:]
        linked = (a >= 0) & (b >= 0)
        pairs.append((a[linked], b[linked]))
    first, second = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    solid, facing = opacity[here], _normals(opacity, here)
    energy = ((facing[first] - facing[second]) ** 2).sum(-1) / (2 * normal**2)
    if colours is not None:
        seen_as = colours[voxels]
        energy = energy + np.nan_to_num(((seen_as[first] - seen_as[second]) ** 2).sum(-1) / (2 * colour**2))
    links = np.exp(-energy) * np.sqrt(solid[first] * solid[second])
    return Neighbourhood(voxels, near[here], first, second, links)


def _normals(opacity: Float[np.ndarray, "x y z"], where: Bool[np.ndarray, "x y z"]) -> Float[np.ndarray, "n 3"]:
    """Unit vectors along the gradient of the blurred opacity at some cells; 0 where it is flat."""
    padded = np.pad(ndimage.gaussian_filter(opacity, 1.0), 1, mode="edge")
    at = np.argwhere(where) + 1
    steps = np.eye(3, dtype=int)
    slopes = np.stack([padded[tuple((at + s).T)] - padded[tuple((at - s).T)] for s in steps], -1) / 2
    length = np.linalg.norm(slopes, axis=-1, keepdims=True)
    return np.where(length > 1e-3, slopes / np.maximum(length, 1e-9), 0)


def _cut(odds: Float[np.ndarray, " n"], around: Neighbourhood, smoothness: float) -> Bool[np.ndarray, " n"]:
    """The minimum cut: true where a voxel falls to the object."""
    graph = maxflow.GraphFloat(len(odds), len(around.links))
    nodes = graph.add_nodes(len(odds))
    costs = smoothness * around.links
    graph.add_edges(around.first, around.second, costs, costs)
    graph.add_grid_tedges(nodes, np.maximum(odds, 0), np.maximum(-odds, 0))
    graph.maxflow()
    found: Bool[np.ndarray, " n"] = ~graph.get_grid_segments(nodes)
    return found

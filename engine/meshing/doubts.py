"""What of a mesh is a guess: how much of it no photo shows, where it was cut off, and whether it has a back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Bool, Float

from engine.captures.capture import Camera

__all__ = ["Doubts", "doubts_of", "observed_of", "observed_share"]

ONE_SIDE = 0.9  # length of the mean direction towards the cameras: about what 35 degrees around a middle one give
LITTLE = 0.4  # observed share of the surface below which it is said; on a table half of a flat thing can be seen
CUT_OFF = 0.01  # share of the surface that has to lie, unseen, on the border of the region for it to be a cut
# Where photos show it, a patch this many times as wide as the reach is enough: such as the end of a nose towards them.
CUT_WIDTH = 12.0


@dataclass(frozen=True)
class Doubts:
    """How far a closed mesh can be believed.

    ``observed`` is the share of its surface, by area, that photos show: the rest was closed by a smallest surface.
    ``cut_at`` names the sides of the region of interest at which the object ends because the region does ("low X",
    "high Z"). ``one_sided`` says that all cameras that saw it stood on one side.
    """

    observed: float
    cut_at: tuple[str, ...]
    one_sided: bool

    def warnings(self) -> list[str]:
        """A sentence or two about each thing that an artist should know; none where all is well."""
        said, guess = [], f"{100 * (1 - self.observed):.0f} % of its surface is a guess"
        if self.observed == 0:
            said.append("No photo shows the object's surface: its colours and its shape are a guess.")
        elif self.one_sided:
            said.append(f"All photos that show the object were taken from one side: {guess}.")
        elif self.observed < LITTLE:
            said.append(f"Photos show little of the object: {guess}.")
        if self.cut_at:
            said.append(
                f"The region of interest ends within the object, which was cut off at {' and '.join(self.cut_at)}. "
                "To have it whole, train with a larger region."
            )
        return said


def doubts_of(
    mesh: trimesh.Trimesh, region: Float[np.ndarray, "2 3"], reach: float, cameras: Sequence[Camera]
) -> Doubts:
    """What is to be doubted of a closed mesh whose ``vertex_attributes["observed"]`` says what photos show.

    Args:
        region: the world box that the field was trained for; ``reach`` is how near to its sides the mesh ends there.
        cameras: those that see the object.
    """
    triangles = np.asarray(mesh.vertices, np.float64)[np.asarray(mesh.faces)]
    area = np.asarray(mesh.area_faces, np.float64)
    seen = observed_of(mesh)[np.asarray(mesh.faces)].mean(axis=1)
    unseen, shown = area * (seen < 0.5), area * (seen >= 0.5)
    total = max(float(area.sum()), 1e-300)
    cut = []

    def is_cut(side: Bool[np.ndarray, " f"]) -> bool:
        return bool(unseen[side].sum() > CUT_OFF * total or shown[side].sum() > (CUT_WIDTH * reach) ** 2)

    for axis, name in enumerate("XYZ"):
        # Faces that lie in the side, not such as stand on it: what rests on the border isn't cut by it.
        low = (triangles[:, :, axis] < region[0, axis] + reach).all(axis=1)
        high = (triangles[:, :, axis] > region[1, axis] - reach).all(axis=1)
        cut += [f"low {name}"] * is_cut(low) + [f"high {name}"] * is_cut(high)
    return Doubts(observed_share(mesh), tuple(cut), _on_one_side(mesh.bounds.mean(axis=0), cameras))


def observed_of(mesh: trimesh.Trimesh) -> Float[np.ndarray, " v"]:
    """Which vertices photos show, 1 or 0; all of them where the mesh doesn't say."""
    found = mesh.vertex_attributes.get("observed")
    return np.ones(len(mesh.vertices)) if found is None else np.asarray(found, np.float64).reshape(-1)


def observed_share(mesh: trimesh.Trimesh) -> float:
    """The share of a mesh's surface, by area, that photos show."""
    area = np.asarray(mesh.area_faces, np.float64)
    return float(area @ observed_of(mesh)[np.asarray(mesh.faces)].mean(axis=1) / max(float(area.sum()), 1e-300))


def _on_one_side(centre: Float[np.ndarray, " 3"], cameras: Sequence[Camera]) -> bool:
    """Whether the directions from a place to cameras are so alike that these see one side of what is there."""
    if not cameras:
        return False
    towards = np.stack([camera.position for camera in cameras]) - centre
    towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-12)
    return bool(np.linalg.norm(towards.mean(axis=0)) > ONE_SIDE)

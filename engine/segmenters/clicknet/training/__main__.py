"""Trains clicknet: ``python -m engine.segmenters.clicknet.training --scenes DIR --out DIR``.

The scenes come from ``python -m sa3d_blender.synthetic``; ``--photos`` adds captures with a mask for each photo.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from engine.segmenters.clicknet.training.compose import Material
from engine.segmenters.clicknet.training.pictures import background_photos, masked_photos, scene_files
from engine.segmenters.clicknet.training.train import Recipe, train


def main(
    scenes: Annotated[Path, typer.Option(help="Folder of rendered scenes.")],
    out: Annotated[Path, typer.Option(help="Folder for weights, learning curve and checkpoint.")],
    photos: Annotated[list[Path] | None, typer.Option(help="Capture with masks/ of one object. Repeatable.")] = None,
    steps: int = Recipe.steps,
    fine_steps: int = Recipe.fine_steps,
    seed: int = Recipe.seed,
    threads: Annotated[int, typer.Option(help="One is fastest where other programs run.")] = 1,
) -> None:
    """Trains, or goes on with an interrupted run of the same folder."""
    torch.set_num_threads(threads)
    real = [path for folder in photos or [] for path in masked_photos(folder)]
    backgrounds = background_photos()
    material = Material(scene_files(scenes, held_out=False), real, backgrounds)
    held_out = Material(scene_files(scenes, held_out=True), [], backgrounds)
    train(Recipe(steps=steps, fine_steps=fine_steps, seed=seed), material, held_out, out)


if __name__ == "__main__":
    typer.run(main)

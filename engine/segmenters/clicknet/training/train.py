"""The training loop: AdamW with a cosine schedule, an average of the weights, checkpoints that a run goes on from."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from engine.cache import atomic_file
from engine.segmenters.clicknet.backbone import Backbone
from engine.segmenters.clicknet.network import ClickNet, Embedding
from engine.segmenters.clicknet.training import clicks, losses
from engine.segmenters.clicknet.training.batches import Batch, as_prompts, draw_batch, rgb_tensor
from engine.segmenters.clicknet.training.compose import Material
from engine.segmenters.clicknet.training.targets import OTHER_WEIGHT
from engine.segmenters.clicknet.training.validation import validate

CORRECTIONS = (0.2, 0.25, 0.3, 0.25)  # chances of 0, 1, 2 and 3 clicks after the first prompts
CHECK_EVERY = 100  # steps between measurements on the validation set, each with a checkpoint


@dataclass(frozen=True)
class Recipe:
    """What a run is made of.

    The last ``fine_steps`` of the ``steps`` see larger pictures (``fine_side``); from step ``thin_from`` on thin things
    are drawn more often, as they are still bad when all else is good.
    """

    steps: int = 2000
    fine_steps: int = 600
    thin_from: int = 600
    side: int = 256
    fine_side: int = 384
    pictures: int = 6
    targets: int = 4
    rate: float = 1.5e-3
    warm_up: int = 60
    weight_decay: float = 1e-2
    average: float = 0.995
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Learning rate: a short ramp, then half a cosine down to a hundredth."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


class _Batches(Dataset[Batch]):
    """The batch of every step; the last steps have fewer but larger pictures."""

    def __init__(self, recipe: Recipe, material: Material) -> None:
        self.recipe, self.material = recipe, material

    def __getitem__(self, step: int) -> Batch:
        recipe = self.recipe
        fine = step >= recipe.steps - recipe.fine_steps
        rng = np.random.default_rng([recipe.seed, step])
        pictures = max(2, recipe.pictures // 2) if fine else recipe.pictures
        side = recipe.fine_side if fine else recipe.side
        return draw_batch(rng, self.material, pictures, recipe.targets, side, step >= recipe.thin_from)


def train(
    recipe: Recipe, material: Material, held_out: Material, out: Path, log: Callable[[str], None] = print
) -> ClickNet:
    """Trains and writes clicknet.safetensors and curve.jsonl into ``out``; goes on from its checkpoint.pt.

    Returns the average of the weights, which is what is written. The same pictures, recipe and number of threads
    give the same weights up to the order of floating-point sums, however often a run is stopped.
    """
    torch.manual_seed(recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    backbone = Backbone().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net, average = ClickNet(), ClickNet()
    average.load_state_dict(net.state_dict())
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
    first = _resume(out / "checkpoint.pt", recipe, net, average, optimiser, log)
    begun, total = time.perf_counter(), 0.0
    # Pictures are made in a process of their own, while the network works on those before.
    batches = DataLoader(_Batches(recipe, material), None, sampler=range(first, recipe.steps), num_workers=1)
    for step, batch in zip(range(first, recipe.steps), batches, strict=True):
        rng = np.random.default_rng([recipe.seed, step, 1])
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate_at(step)
        loss = _step(rng, net, backbone, batch, optimiser)
        total += loss
        _follow(average, net, min(recipe.average, (step + 1) / (step + 10)))
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == recipe.steps:
            figures = validate(average, backbone, held_out)
            steps = step + 1 - first
            line = {"step": step + 1, "loss": total / min(CHECK_EVERY, steps), **figures,
                    "seconds": round(time.perf_counter() - begun, 1)}  # fmt: skip
            total = 0.0
            _save(out, recipe, step + 1, net, average, optimiser)
            with (out / "curve.jsonl").open("a") as curve:
                curve.write(json.dumps(line) + "\n")
            log(json.dumps(line))
    return average


def _step(
    rng: np.random.Generator, net: ClickNet, backbone: Backbone, batch: Batch, optimiser: torch.optim.Optimizer
) -> float:
    """One step: the first prompts and the last of up to three corrections are learnt from, those between only made."""
    net.train()
    with torch.autocast("cpu", torch.bfloat16):
        rgb = rgb_tensor(batch)
        with torch.no_grad():
            pyramid = backbone(rgb)
        embedding = net.neck(pyramid, rgb)
    each = Embedding(*(level[batch.picture] for level in embedding))
    corrections = int(rng.choice(4, p=CORRECTIONS))
    loss = torch.zeros(())
    for turn in range(corrections + 1):
        learnt = turn in (0, corrections)
        with torch.set_grad_enabled(learnt), torch.autocast("cpu", torch.bfloat16):
            decoded = net.decoder(each, as_prompts(batch))
        if learnt:
            loss = loss + _loss(decoded.logits, decoded.coarse, decoded.iou, batch)
        if turn == corrections:
            break
        meant = torch.tensor([session.target.meant for session in batch.sessions])
        chosen = decoded.logits.detach()[torch.arange(len(meant)), meant]
        handed = torch.sigmoid(chosen).numpy()
        for k, session in enumerate(batch.sessions):
            clicks.correct(rng, session, handed[k] > 0.5)
            session.mask = handed[k] if rng.random() < 0.5 else None
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach()) / (1 if corrections == 0 else 2)


def _loss(logits: Tensor, coarse: Tensor, predicted: Tensor, batch: Batch) -> Tensor:
    """The meant output counts fully; the others a little, where a single click may mean them too."""
    n = len(batch.sessions)
    masks = torch.stack([torch.from_numpy(s.target.masks.astype(np.float32)) for s in batch.sessions])
    weights = torch.zeros(n, 3)
    for k, session in enumerate(batch.sessions):
        if session.single or not session.target.ambiguous:
            weights[k] = OTHER_WEIGHT
        weights[k, session.target.meant] = 1.0
    truth = torch.nn.functional.avg_pool2d(masks, 2)
    rough = torch.nn.functional.avg_pool2d(masks, 4)
    per_mask = losses.mask_loss(logits, truth) + 0.4 * losses.mask_loss(coarse, rough)
    meant = torch.tensor([session.target.meant for session in batch.sessions])
    wanted = truth[torch.arange(n), meant][:, None]
    error = (predicted - losses.iou(logits.detach(), wanted)) ** 2
    return (per_mask * weights).sum() / weights.sum() + 0.5 * error.mean()


def _follow(average: nn.Module, net: nn.Module, keep: float) -> None:
    """Moves the averaged weights (and the running statistics) towards the trained ones."""
    with torch.no_grad():
        for old, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
            if old.dtype.is_floating_point:
                old.lerp_(new, 1 - keep)
            else:
                old.copy_(new)


def _save(
    out: Path, recipe: Recipe, step: int, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    with atomic_file(out / "checkpoint.pt") as part:
        torch.save(
            {"recipe": asdict(recipe), "step": step, "net": net.state_dict(), "average": average.state_dict(),
             "optimiser": optimiser.state_dict()},
            part,
        )  # fmt: skip
    half = {
        name: value.to(torch.float16).contiguous() if value.dtype.is_floating_point else value
        for name, value in average.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    with atomic_file(out / "clicknet.safetensors") as part:
        save_file(half, part)


def _resume(
    path: Path, recipe: Recipe, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer,
    log: Callable[[str], None],
) -> int:  # fmt: skip
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    net.load_state_dict(state["net"])
    average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    log(f"Going on at step {state['step']}.")
    return int(state["step"])

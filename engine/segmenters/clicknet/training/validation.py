"""How good the network is on rendered scenes that it is not trained on: the same prompts every time."""

from __future__ import annotations

import numpy as np
import torch

from engine.segmenters.clicknet.backbone import Backbone
from engine.segmenters.clicknet.network import ClickNet, Decoded, Embedding
from engine.segmenters.clicknet.training import clicks, losses
from engine.segmenters.clicknet.training.batches import Batch, as_prompts, draw_batch, rgb_tensor
from engine.segmenters.clicknet.training.compose import Material
from engine.segmenters.clicknet.training.targets import OBJECT

PICTURES, TARGETS, SIDE, CLICKS = 24, 4, 320, 5


def validate(net: ClickNet, backbone: Backbone, held_out: Material) -> dict[str, float]:
    """Mean IoU of the object output after 1, 3 and 5 clicks, with six points at once and from a box.

    ``right`` is the share of single clicks for which the output of the highest predicted IoU is the best one.
    """
    net.eval()
    sums = {"1": 0.0, "3": 0.0, "5": 0.0, "six": 0.0, "box": 0.0, "right": 0.0}
    count = 0
    rng = np.random.default_rng(12345)
    for _ in range(PICTURES // 4):
        batch = draw_batch(rng, held_out, 4, TARGETS, SIDE)
        count += len(batch.sessions)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            rgb = rgb_tensor(batch)
            embedding = net.neck(backbone(rgb), rgb)
        each = Embedding(*(level[batch.picture] for level in embedding))
        truth = torch.stack([torch.from_numpy(s.target.masks[OBJECT][::2, ::2].copy()) for s in batch.sessions])[
            :, None
        ]
        targets = [s.target for s in batch.sessions]
        objects = [type(t)(t.masks, OBJECT, t.ambiguous) for t in targets]
        for name, sessions in _starts(rng, objects).items():
            turns = CLICKS if name == "1" else 1
            for turn in range(1, turns + 1):
                decoded = _decode(net, each, Batch(batch.rgb, sessions, batch.picture))
                found = losses.iou(decoded.logits, truth.float())
                key = name if name != "1" else str(turn)
                if key in sums:
                    sums[key] += float(found[:, OBJECT].sum())
                if key == "1":
                    sums["right"] += float((found.argmax(1) == decoded.iou.argmax(1)).sum())
                for k, session in enumerate(sessions):
                    clicks.correct(rng, session, (decoded.logits[k, OBJECT] > 0).numpy())
    return {name: round(value / count, 4) for name, value in sums.items()}


def _decode(net: ClickNet, each: Embedding, batch: Batch) -> Decoded:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        decoded: Decoded = net.decoder(each, as_prompts(batch))
    return decoded


def _starts(rng: np.random.Generator, targets: list[clicks.Target]) -> dict[str, list[clicks.Session]]:
    """One click in the middle, six points inside, the tight box."""
    one, six, box = [], [], []
    for target in targets:
        session = clicks.Session(target)
        clicks.add(session, clicks.middle(target.wanted), 1)
        one.append(session)
        many = clicks.Session(target)
        for _ in range(6):
            clicks.add(many, clicks.inside(rng, target.wanted, 0.7), 1)
        six.append(many)
        box.append(clicks.Session(target, box=clicks.tight_box(target.wanted)))
    return {"1": one, "six": six, "box": box}

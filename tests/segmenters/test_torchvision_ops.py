"""torchvision can be imported with and without its compiled operators."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_segment_anything_imports_and_torchvision_resizes():
    result = run(
        "from engine.segmenters.torchvision_ops import ensure_torchvision_imports as ensure\n"
        "ensure(); assert ensure() == ()\n"
        "import segment_anything, torch\n"
        "from torchvision.transforms.functional import resize\n"
        "print(tuple(resize(torch.zeros(3, 8, 8), [4, 4]).shape))"
    )
    assert result.stdout.strip() == "(3, 4, 4)", result.stderr


def test_operators_that_exist_are_left_alone():
    result = run(
        "import torch\n"
        "lib = torch.library.Library('torchvision', 'DEF')\n"
        "lib.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "lib.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "from engine.segmenters import torchvision_ops\n"
        "torchvision_ops._load_compiled_operators = lambda folder: None\n"
        "print(torchvision_ops.ensure_torchvision_imports())"
    )
    assert result.stdout.strip() == "()", result.stderr

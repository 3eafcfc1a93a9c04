"""The device is the one asked for; one that isn't there is never replaced in silence."""

from __future__ import annotations

import pytest
import torch

from engine.devices import describe, pick_device
from sa3d_blender.protocol.errors import EnvironmentFault


def has(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_cuda_then_mps_then_the_cpu(monkeypatch, cuda, mps, best):
    has(monkeypatch, cuda, mps)
    assert pick_device("auto").type == best


def test_a_device_asked_for_by_name_is_taken_even_where_there_is_a_faster_one(monkeypatch):
    has(monkeypatch, cuda=True, mps=False)
    assert pick_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_told_in_a_sentence(monkeypatch, name):
    has(monkeypatch, cuda=False, mps=False)
    with pytest.raises(EnvironmentFault, match=name.upper()) as caught:
        pick_device(name)
    assert "--device auto" in caught.value.cure


def test_an_unknown_device_is_told_with_the_known_ones():
    with pytest.raises(EnvironmentFault, match="tpu") as caught:
        pick_device("tpu")
    assert "auto, cpu, cuda or mps" in caught.value.cure


def test_the_cpu_is_described_with_its_threads():
    assert f"{torch.get_num_threads()} threads" in describe(torch.device("cpu"))

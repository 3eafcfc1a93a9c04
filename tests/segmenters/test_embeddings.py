"""The store of embeddings: what comes back, what is refused, and who makes way."""

import os

import pytest
import torch

from engine.segmenters.embeddings import KIND, EmbeddingStore
from sa3d_blender.protocol.errors import StorageError


def some(value: float = 1.0, count: int = 8) -> dict[str, torch.Tensor]:
    return {"s4": torch.full((1, count), value), "s8": torch.full((1, 2), 2 * value)}


def test_what_was_written_comes_back_as_float16(tmp_path):
    store = EmbeddingStore(tmp_path, "model")
    assert not store.has("photo", 4, 6) and store.read("photo", 4, 6) is None
    store.write("photo", 4, 6, some(1 / 3))
    found = EmbeddingStore(tmp_path, "model").read("photo", 4, 6)
    assert found is not None and set(found) == {"s4", "s8"}
    assert found["s4"].dtype == torch.float16
    assert torch.equal(found["s4"], torch.full((1, 8), 1 / 3).to(torch.float16))


@pytest.mark.parametrize("other", [("another photo", 4, 6), ("photo", 6, 4)])
def test_another_photo_or_size_has_its_own(tmp_path, other):
    store = EmbeddingStore(tmp_path, "model")
    store.write("photo", 4, 6, some())
    assert not store.has(*other)


def test_another_model_has_its_own(tmp_path):
    EmbeddingStore(tmp_path, "model").write("photo", 4, 6, some())
    assert not EmbeddingStore(tmp_path, "another").has("photo", 4, 6)


@pytest.mark.parametrize("spoil", ["cut", "not a number"])
def test_a_damaged_file_is_named_in_the_log_and_not_used(tmp_path, spoil):
    lines: list[str] = []
    store = EmbeddingStore(tmp_path, "model", lines.append)
    store.write("photo", 4, 6, some(float("nan") if spoil == "not a number" else 1.0))
    (path,) = (tmp_path / KIND).glob("*/*.safetensors")
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:40])
    assert store.read("photo", 4, 6) is None
    assert len(lines) == 1 and "encoded again" in lines[0]


def test_what_was_not_used_for_longest_makes_way(tmp_path):
    store = EmbeddingStore(tmp_path, "model", budget_mb=1)
    large = 200_000  # values: 0.4 MB each
    for number, name in enumerate(("first", "second")):
        store.write(name, 1, 1, some(1.0, large))
        os.utime(store._path(name, 1, 1), (number, number))
    assert store.read("first", 1, 1) is not None  # now the second is the oldest
    store.write("third", 1, 1, some(1.0, large))
    assert [store.has(name, 1, 1) for name in ("first", "second", "third")] == [True, False, True]


def test_nothing_is_left_half_written_on_a_full_disk(tmp_path, monkeypatch):
    store = EmbeddingStore(tmp_path, "model")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.segmenters.embeddings.save_file", full)
    with pytest.raises(StorageError, match="full"):
        store.write("photo", 4, 6, some())
    assert not list((tmp_path / KIND).glob("*/*.safetensors")) and not list((tmp_path / KIND).glob("*/.partial*"))

"""What can't be imported is refused in one sentence: nothing in it runs, and it takes no memory that it only claims."""

from __future__ import annotations

import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_checkpoints import PublishedDVGO, PublishedTensoRF

from engine.fields.imports.dvgo_checkpoint import dvgo_field
from engine.fields.imports.reading import read_checkpoint
from engine.fields.imports.tensorf_checkpoint import tensorf_field
from sa3d_blender.protocol.errors import FieldError

MASK = np.random.default_rng(0).random((4, 5, 6)) < 0.5


def refused(path: Path, match: str) -> None:
    """Reading a file, and making a field of it, fails with a sentence of that kind and with a cure."""
    with pytest.raises(FieldError, match=match) as caught:
        found = read_checkpoint(path)
        (dvgo_field if "model_kwargs" in found else tensorf_field)(found, path.name)
    assert caught.value.what.endswith(".")
    assert caught.value.cure.endswith(".")
    assert "\n" not in str(caught.value)


def saved(value: object, path: Path, **how: Any) -> Path:
    torch.save(value, path, **how)
    return path


def test_no_file_and_a_folder_are_told(tmp_path):
    refused(tmp_path / "nothing.th", "There is no checkpoint")
    refused(tmp_path, "There is no checkpoint")


@pytest.mark.parametrize("content", [b"", b"solid words\n", os.urandom(4000)], ids=["empty", "text", "noise"])
def test_what_is_no_checkpoint_is_told(tmp_path, content):
    (tmp_path / "file.th").write_bytes(content)
    refused(tmp_path / "file.th", "no checkpoint that PyTorch")


def test_another_archive_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.th", "w") as archive:
        archive.writestr("a/photo.txt", "a photo")
    refused(tmp_path / "photos.th", "another archive")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_file_cut_short_is_told(tmp_path, share):
    content = PublishedTensoRF().save(tmp_path / "whole.th").read_bytes()
    (tmp_path / "part.th").write_bytes(content[: int(share * len(content))])
    refused(tmp_path / "part.th", "cut short")


def rewritten(path: Path, change: Callable[[str, bytes], bytes], how: int = zipfile.ZIP_STORED) -> Path:
    """A copy of an archive with its entries changed."""
    other = path.with_name(f"changed-{path.name}")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w", how) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))
    return other


def test_packed_numbers_are_refused_as_they_may_be_far_more_than_the_file(tmp_path):
    path = PublishedTensoRF().save(tmp_path / "field.th")
    refused(rewritten(path, lambda name, content: content, zipfile.ZIP_DEFLATED), "packed by another program")


def test_endless_structure_is_refused_unread(tmp_path):
    path = PublishedTensoRF().save(tmp_path / "field.th")
    longer = rewritten(path, lambda name, content: content + b" " * (5 << 20) if name.endswith("data.pkl") else content)
    refused(longer, "bytes of structure")


def test_a_broken_pickle_is_told(tmp_path):
    path = PublishedTensoRF().save(tmp_path / "field.th")
    for cut in (1, 50, 400):
        broken = rewritten(path, lambda name, content: content[:-cut] if name.endswith("data.pkl") else content)  # noqa: B023
        refused(broken, "cut short or damaged")


def test_missing_numbers_are_told(tmp_path):
    path = PublishedTensoRF().save(tmp_path / "field.th")
    other = tmp_path / "less.th"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith("data/3"):
                new.writestr(entry.filename, old.read(entry))
    refused(other, "cut short or damaged")


class Malice:
    """What creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


class Opening(Malice):
    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.mark), "w")


class Evaluating(Malice):
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"__import__('os').mkdir({str(self.mark)!r})",)


@pytest.mark.parametrize("malice", [Malice, Opening, Evaluating], ids=["os", "open", "eval"])
@pytest.mark.parametrize("place", ["kwargs", "state_dict", "elsewhere"])
def test_code_in_a_checkpoint_never_runs(tmp_path, malice, place):
    mark = tmp_path / "it ran"
    checkpoint = PublishedTensoRF().checkpoint()
    (checkpoint if place == "elsewhere" else checkpoint[place])["evil"] = malice(mark)
    refused(saved(checkpoint, tmp_path / "evil.th"), "asks to run code")
    assert not mark.exists()
    pickle.loads(pickle.dumps(malice(mark)))  # it would have
    assert mark.exists()


@pytest.mark.parametrize("protocol", [0, 1, 3, 4, 5])
def test_code_named_in_other_ways_never_runs_either(tmp_path, protocol):
    mark = tmp_path / "it ran"
    path = saved({"kwargs": Malice(mark), "state_dict": {}}, tmp_path / "evil.th", pickle_protocol=protocol)
    refused(path, "asks to run code")
    assert not mark.exists()


def test_code_in_a_pickle_of_the_old_kind_never_runs(tmp_path):
    mark = tmp_path / "it ran"
    value = {**PublishedTensoRF().checkpoint(), "evil": Malice(mark)}
    refused(saved(value, tmp_path / "evil.th", _use_new_zipfile_serialization=False), "PyTorch 1.6")
    (tmp_path / "bare.th").write_bytes(pickle.dumps(value))
    refused(tmp_path / "bare.th", "no checkpoint that PyTorch")
    assert not mark.exists()


def test_whole_models_are_refused(tmp_path):
    refused(saved(torch.nn.Linear(2, 2), tmp_path / "model.th"), "asks to run code .*Linear")


def test_arrays_that_claim_to_be_huge_take_no_memory(tmp_path):
    checkpoint = PublishedTensoRF(mask=MASK).checkpoint()
    path = saved(checkpoint, tmp_path / "field.th")

    def claimed(name: str, content: bytes) -> bytes:
        # numpy's (0,) at which an array starts before it is filled, as four dimensions of 2^31 - 1 would stand there
        return content.replace(b"K\x00\x85", b"J\xff\xff\xff\x7f\x85", 1) if name.endswith("data.pkl") else content

    changed = rewritten(path, claimed)
    assert changed.read_bytes() != path.read_bytes()
    tensorf_field(read_checkpoint(changed), "field.th")  # the claim is not even looked at


class Swollen:
    """A tensor of four terabytes over a storage of four bytes."""

    def __reduce__(self) -> tuple[Any, ...]:
        side, storage = 10**6, torch.zeros(1)._typed_storage()
        return torch._utils._rebuild_tensor_v2, (storage, 0, (side, side), (side, 1), False, OrderedDict())


def test_tensors_that_claim_to_be_huge_take_no_memory(tmp_path):
    checkpoint = PublishedTensoRF().checkpoint()
    checkpoint["state_dict"]["extra"] = Swollen()
    refused(saved(checkpoint, tmp_path / "field.th"), "cut short or damaged")


def test_something_else_than_a_dictionary_is_told(tmp_path):
    refused(saved([1, 2], tmp_path / "list.th"), "holds no checkpoint but a list")


def tensorf(change: Callable[[dict[str, Any]], object]) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        checkpoint = PublishedTensoRF(mask=MASK).checkpoint()
        change(checkpoint)
        return checkpoint

    return make


def dvgo(change: Callable[[dict[str, Any]], object]) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        checkpoint = PublishedDVGO().checkpoint()
        change(checkpoint)
        return checkpoint

    return make


def says(**values: object) -> Callable[[], dict[str, Any]]:
    return tensorf(lambda c: c["kwargs"].update(values))


def holds(**values: object) -> Callable[[], dict[str, Any]]:
    return tensorf(lambda c: c["state_dict"].update(values))


def of_cp() -> dict[str, Any]:
    checkpoint = PublishedTensoRF().checkpoint()
    checkpoint["state_dict"] = OrderedDict(
        (name, each) for name, each in checkpoint["state_dict"].items() if "plane" not in name
    )
    return checkpoint


HUGE = [3000, 3000, 3000]
NAN = torch.full((5, 10), torch.nan)
TENSORFS = {
    "PE": (says(shadingMode="MLP_PE"), "shadingMode is 'MLP_PE'"),
    "no shading": (tensorf(lambda c: c["kwargs"].pop("shadingMode")), "shadingMode is NoneType"),
    "relu": (says(fea2denseAct="relu"), "fea2denseAct is 'relu'"),
    "CP": (of_cp, "TensorCP, not TensorVMSplit"),
    "VM": (tensorf(lambda c: c.update(state_dict={"plane_coef": torch.zeros(3)})), "TensorVM, not"),
    "no numbers": (tensorf(lambda c: c.update(state_dict={})), "another model"),
    "settings that are a list": (tensorf(lambda c: c.update(kwargs=[1])), "shadingMode"),
    "SH of the wrong size": (says(shadingMode="SH"), "app_dim is 5"),
    "RGB of the wrong size": (says(shadingMode="RGB"), "app_dim is 5"),
    "a huge grid": (says(gridSize=HUGE), "claims a grid of 3000 x 3000 x 3000 nodes"),
    "a grid of one": (says(gridSize=[1, 9, 6]), "gridSize is 1"),
    "a grid of words": (says(gridSize="many"), "gridSize is 'many'"),
    "a flat grid": (says(gridSize=[7, 9]), r"gridSize is \[7, 9\]"),
    "another grid": (says(gridSize=[7, 9, 7]), r"density_plane.1 has the shape \[1, 2, 6, 7\], not \[1, 2, 7, 7\]"),
    "other ranks": (says(density_n_comp=[3, 3, 4]), "density_plane.1 has the shape"),
    "endless ranks": (says(appearance_n_comp=[10**9] * 3), "appearance_n_comp is"),
    "fractions of ranks": (says(density_n_comp=[2.5, 2, 2]), "density_n_comp is 2.5"),
    "too many waves": (says(fea_pe=400), "fea_pe is 400"),
    "other waves": (says(view_pe=3), "renderModule.mlp.0.weight has the shape"),
    "no box": (tensorf(lambda c: c["kwargs"].pop("aabb")), "it has no aabb"),
    "a box inside out": (says(aabb=torch.tensor([[1.0] * 3, [0.0] * 3])), "no inside"),
    "an endless box": (says(aabb=torch.tensor([[0.0] * 3, [torch.inf] * 3])), "aren't finite"),
    "no scale": (says(distance_scale=float("nan")), "distance_scale is nan"),
    "a negative scale": (says(distance_scale=-25), "distance_scale is -25"),
    "NaN": (holds(**{"basis_mat.weight": NAN}), "basis_mat.weight holds numbers that aren't finite"),
    "a missing part": (tensorf(lambda c: c["state_dict"].pop("app_line.2")), "it has no app_line.2"),
    "a part that is text": (holds(**{"app_line.2": "line"}), "it has no app_line.2"),
    "complex numbers": (holds(**{"basis_mat.weight": torch.zeros(5, 10, dtype=torch.complex64)}), "run code .*Complex"),
    "an unknown part": (holds(extra=torch.zeros(3)), "it holds extra"),
    "numbers that are not there": (holds(**{"basis_mat.weight": torch.zeros(1).expand(5, 10)}), "claims more numbers"),
    "a huge mask": (tensorf(lambda c: c.update({"alphaMask.shape": (1, 1, *HUGE)})), "claims a grid of 3000"),
    "an odd mask": (tensorf(lambda c: c.update({"alphaMask.shape": (4, 5)})), "alphaMask.shape is"),
    "a short mask": (tensorf(lambda c: c.update({"alphaMask.mask": np.zeros(3, np.uint8)})), "isn't 6 x 5 x 4 flags"),
    "no mask": (tensorf(lambda c: c.pop("alphaMask.mask")), "isn't 6 x 5 x 4 flags"),
    "a mask without shape": (tensorf(lambda c: c.update({"alphaMask.shape": 7})), "alphaMask.shape is"),
}


def sets(**values: object) -> Callable[[], dict[str, Any]]:
    return dvgo(lambda c: c["model_kwargs"].update(values))


def has(**values: object) -> Callable[[], dict[str, Any]]:
    return dvgo(lambda c: c["model_state_dict"].update(values))


def of_old(checkpoint: dict[str, Any]) -> None:
    state = checkpoint["model_state_dict"]
    state["density"], state["k0"] = state.pop("density.grid"), state.pop("k0.grid")


def of_a_claimed_grid(side: int) -> Callable[[], dict[str, Any]]:
    def change(checkpoint: dict[str, Any]) -> None:
        checkpoint["model_kwargs"].update(
            xyz_min=np.zeros(3, np.float32), xyz_max=np.ones(3, np.float32), num_voxels=side**3, num_voxels_base=side**3
        )
        grids = {"density.grid": torch.zeros(1).expand(1, 1, side, side, side)}
        grids["k0.grid"] = torch.zeros(1).expand(1, 7, side, side, side)
        checkpoint["model_state_dict"].update(grids)

    return dvgo(change)


DVGOS = {
    "NDC": (sets(mpi_depth=128), "multiplane image"),
    "unbounded": (sets(contracted_norm="inf"), "unbounded scene"),
    "TensoRF grids": (sets(k0_type="TensoRFGrid"), "k0_type is 'TensoRFGrid'"),
    "implicit": (sets(rgbnet_full_implicit=True), "rgbnet_full_implicit"),
    "old": (dvgo(of_old), "older DirectVoxGO"),
    "a huge grid": (of_a_claimed_grid(3000), "claims a grid of 3000 x 3000 x 3000"),
    "a large grid that is not there": (of_a_claimed_grid(500), "claims more numbers than the file holds"),
    "another grid": (sets(num_voxels=5000), "nodes, not"),
    "no voxels": (sets(num_voxels=0), "num_voxels is 0"),
    "no base": (sets(num_voxels_base=None), "num_voxels_base is NoneType"),
    "a box of words": (sets(xyz_min="here"), "xyz_min is 'here'"),
    "a box inside out": (sets(xyz_min=np.array([9.0, 9, 9])), "no inside"),
    "a box without end": (sets(xyz_max=np.array([np.inf] * 3)), "no inside"),
    "wider": (sets(rgbnet_width=11), "rgbnet.0.weight has the shape"),
    "deeper": (sets(rgbnet_depth=4), "rgbnet.2.0|rgbnet.3"),
    "endless": (sets(rgbnet_depth=10**6), "rgbnet_depth is 1000000"),
    "no features": (sets(rgbnet_dim=0), "k0.grid has the shape"),
    "features": (sets(rgbnet_dim=2, rgbnet_direct=False), "rgbnet_dim is 2"),
    "a flat density": (has(**{"density.grid": torch.zeros(3, 3)}), r"density grid has the shape \[3, 3\]"),
    "no shift": (dvgo(lambda c: c["model_state_dict"].pop("act_shift")), "it has no act_shift"),
    "a flat mask": (has(**{"mask_cache.mask": torch.ones(4, 4, dtype=torch.bool)}), "mask_cache has the shape"),
    "a mask of no size": (has(**{"mask_cache.xyz2ijk_scale": torch.zeros(3)}), "mask_cache has no size"),
    "NaN": (has(act_shift=torch.tensor([torch.nan])), "act_shift holds numbers that aren't finite"),
    "an unknown part": (has(extra=torch.zeros(2)), "it holds extra"),
}


@pytest.mark.parametrize("name", TENSORFS)
def test_a_tensorf_that_does_not_fit_is_told(tmp_path, name):
    make, match = TENSORFS[name]
    refused(saved(make(), tmp_path / "field.th"), match)


@pytest.mark.parametrize("name", DVGOS)
def test_a_dvgo_that_does_not_fit_is_told(tmp_path, name):
    make, match = DVGOS[name]
    refused(saved(make(), tmp_path / "field.tar"), match)


def test_dictionaries_of_the_authors_configuration_library_are_read_as_plain_ones(tmp_path, monkeypatch):
    """DirectVoxGO's settings are read by mmcv, whose dictionaries are pickled by name."""

    class ConfigDict(dict):  # as addict's, which it inherits from
        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self.items())

        def __getstate__(self) -> Any:
            return self

        def __setstate__(self, state: Any) -> None:
            self.update(state)

    ConfigDict.__module__, ConfigDict.__qualname__ = "mmcv.utils.config", "ConfigDict"
    for name in ("mmcv", "mmcv.utils", "mmcv.utils.config"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["mmcv.utils.config"].ConfigDict = ConfigDict  # type: ignore[attr-defined]
    checkpoint = PublishedDVGO().checkpoint()
    checkpoint["model_kwargs"].update(density_config=ConfigDict(), k0_config=ConfigDict(n_comp=3))
    path = saved(checkpoint, tmp_path / "field.tar")
    for name in ("mmcv", "mmcv.utils", "mmcv.utils.config"):
        monkeypatch.delitem(sys.modules, name)
    found = read_checkpoint(path)
    assert found["model_kwargs"]["k0_config"] == {"n_comp": 3}
    dvgo_field(found, path.name)


def test_numbers_of_half_and_of_double_precision_are_read(tmp_path):
    for kind in (torch.float16, torch.float64):
        checkpoint = PublishedTensoRF().checkpoint()
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = OrderedDict((name, each.detach().to(kind)) for name, each in state.items())
        checkpoint["kwargs"]["distance_scale"] = np.float64(25.0)
        field = tensorf_field(read_checkpoint(saved(checkpoint, tmp_path / "field.th")), "field.th")
        assert all(each.dtype == torch.float32 for each in field.parameters())

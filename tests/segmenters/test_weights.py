"""Weights are found, verified, fetched and read, and a wrong or cut file never gets through."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from dataclasses import replace

import pytest
import torch
from web_server import Served, web_server

from engine.progress import Job
from engine.segmenters import weights as module
from engine.segmenters.weights import (
    ALL_WEIGHTS,
    WEIGHTS,
    Weights,
    WeightsFile,
    check_weights,
    download_weights,
    file_sha256,
    find_weights,
    get_weights,
    list_weights,
    load_state_dict,
    remove_weights,
    verify_weights,
    weights_path,
)
from engine.segmenters.weights_table import folder_sha256
from sa3d_blender.protocol.errors import Cancelled, SegmenterError, StorageError
from tests.helpers.patience import patience


@pytest.fixture
def server():
    with web_server() as served:
        yield served


def make_weights(folder, name="small"):
    """A real, small weights file in ``folder`` and its table entry."""
    path = folder / f"{name}.pth"
    torch.manual_seed(len(name))
    torch.save({"a": torch.randn(60000)}, path)
    return {name: Weights(name, path.name, "http://unused/", path.stat().st_size, file_sha256(path), "CC0", "vit_b")}


def serve(server: Served, folder, name="small"):
    """The table entry of a weights file that the server has."""
    table = make_weights(folder, name)
    server.files[table[name].file] = (folder / table[name].file).read_bytes()
    return {name: replace(table[name], base_url=server.url)}


def make_folder(server: Served, base="model/"):
    """The table entry of a model of three files that the server has."""
    contents = {"config.json": b"{}", "tokenizer.json": b"[1]" * 50, "model.safetensors": bytes(range(256)) * 500}
    parts = tuple(WeightsFile(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in contents.items())
    for name, content in contents.items():
        server.files[base + name] = content
    digest = folder_sha256((part.name, part.sha256) for part in parts)
    size = sum(part.size for part in parts)
    return {"dino": Weights("dino", "dino", server.url + base, size, digest, "CC0", "d", "a test", parts)}


def test_a_download_lands_verified_and_reports_its_progress(server: Served, tmp_path):
    table, seen = serve(server, tmp_path), []
    path = download_weights("small", tmp_path / "cache", lambda *step: seen.append(step), table=table)
    assert path.read_bytes() == (tmp_path / "small.pth").read_bytes()
    assert seen[-1] == (table["small"].size, table["small"].size)
    assert load_state_dict(path)["a"].shape == (60000,)


def test_what_is_there_and_verified_is_not_fetched_again(server: Served, tmp_path):
    table = serve(server, tmp_path)
    path = download_weights("small", tmp_path / "cache", table=table)
    download_weights("small", tmp_path / "cache", table=table)
    assert len(server.requests) == 1
    path.write_bytes(bytes(table["small"].size))  # damaged: the same size, another content
    download_weights("small", tmp_path / "cache", table=table)
    assert len(server.requests) == 2
    assert path.read_bytes() == (tmp_path / "small.pth").read_bytes()


def test_a_mirror_takes_the_place_of_the_listed_server(server: Served, tmp_path):
    table = {"small": replace(serve(server, tmp_path)["small"], base_url="http://127.0.0.1:9/")}
    assert download_weights("small", tmp_path / "cache", base_url=server.url, table=table).is_file()


@pytest.mark.parametrize("address", ["file:///etc/", "ftp://127.0.0.1/", "127.0.0.1/", ""])
def test_only_web_servers_are_asked(server: Served, tmp_path, address):
    with pytest.raises(StorageError, match="no address of a web server"):
        download_weights("small", tmp_path / "cache", base_url=address, table=serve(server, tmp_path))


def test_a_model_of_several_files_is_fetched_file_by_file_and_goes_on_where_it_stopped(server: Served, tmp_path):
    table, seen = make_folder(server), []
    server.cut_at = 1000
    with pytest.raises(StorageError, match="cut"):
        download_weights("dino", tmp_path, table=table)
    assert list_weights(tmp_path, table)[0].state == "partial"
    assert find_weights("dino", cache_dir=tmp_path, table=table) is None
    server.cut_at = None
    folder = download_weights("dino", tmp_path, lambda *step: seen.append(step), table=table)
    asked = [path for path, _, _ in server.requests]
    assert asked.count("/model/config.json") == 1
    assert server.requests[-1][1] == "bytes=1000-"
    assert seen[-1] == (table["dino"].size, table["dino"].size)
    assert find_weights("dino", cache_dir=tmp_path, table=table) == folder
    assert verify_weights("dino", folder, tmp_path, table=table) == table["dino"].sha256
    assert list_weights(tmp_path, table)[0].state == "verified"
    (folder / "tokenizer.json").write_bytes(b"[2]" * 50)
    with pytest.raises(StorageError, match=r"tokenizer\.json are damaged"):
        verify_weights("dino", folder, tmp_path, table=table)


def test_getting_says_first_how_much_is_fetched_from_where_under_which_licence(server: Served, tmp_path):
    table, told, reports = serve(server, tmp_path), [], []
    job = Job(log=lambda line: told.append((line, len(server.requests))), listener=reports.append)
    get_weights("small", tmp_path / "cache", job, table=table)
    line, requests_before = told[0]
    assert "0.2 MB" in line
    assert "127.0.0.1" in line
    assert "CC0" in line
    assert requests_before == 0
    assert any(report.detail.endswith("of 0.2 MB") and report.seconds_left is not None for report in reports)


def test_getting_is_stopped_within_a_second_and_goes_on_later(server: Served, tmp_path):
    table, job = serve(server, tmp_path), Job()
    server.stall_at = 200_000
    pressed = []
    threading.Timer(0.5, lambda: (pressed.append(time.monotonic()), job.cancel.set())).start()
    with pytest.raises(Cancelled):
        get_weights("small", tmp_path / "cache", job, table=table)
    assert time.monotonic() - pressed[0] < patience(1)
    server.stall_at = None
    assert get_weights("small", tmp_path / "cache", Job(), table=table).is_file()
    assert server.requests[-1][1] is not None


def test_the_time_left_counts_this_downloads_speed_and_not_what_lay_there(tmp_path, monkeypatch):
    def resumed(name, cache_dir, progress, mirror, table):
        progress(900_000, 1_000_000)
        time.sleep(0.1)
        progress(910_000, 1_000_000)
        return tmp_path

    reports = []
    monkeypatch.setattr(module, "download_weights", resumed)
    get_weights("sam-vit-b", tmp_path, Job(listener=reports.append))
    (told,) = [report.seconds_left for report in reports if report.done == 910_000]
    assert told >= 0.9  # 10 kB in a tenth of a second: 90 kB more take nine times as long


def test_the_list_tells_missing_begun_unverified_verified_and_damaged_weights_apart(server: Served, tmp_path):
    table = serve(server, tmp_path) | serve(server, tmp_path, "other")
    cache = tmp_path / "cache"
    assert [state.state for state in list_weights(cache, table)] == ["missing", "missing"]
    path = download_weights("small", cache, table=table)
    weights_path("other", cache, table).with_name("other.pth.part").write_bytes(b"123")
    small, other = list_weights(cache, table)
    assert (small.state, other.state, other.bytes_there) == ("verified", "partial", 3)
    os.utime(path, (1, 1))
    assert list_weights(cache, table)[0].state == "unverified"
    path.write_bytes(b"short")
    assert list_weights(cache, table)[0].state == "damaged"


def test_removing_deletes_the_file_and_what_was_begun(server: Served, tmp_path):
    table = serve(server, tmp_path) | make_folder(server)
    cache = tmp_path / "cache"
    for name in table:
        download_weights(name, cache, table=table)
        place = weights_path(name, cache, table)
        begun = place / "config.json.part" if place.is_dir() else place.with_name("small.pth.part")
        begun.write_bytes(b"12345")
        assert remove_weights(name, cache, table) == table[name].size + 5
        assert not place.exists()
        assert remove_weights(name, cache, table) == 0
    assert [path.name for path in (cache / "weights").rglob("*") if path.is_file()] == []


def test_checking_reads_again_what_is_remembered_as_verified(server: Served, tmp_path):
    table, cache = serve(server, tmp_path), tmp_path / "cache"
    with pytest.raises(SegmenterError, match="no weights small"):
        check_weights("small", cache, Job(), table)
    path = download_weights("small", cache, table=table)
    assert check_weights(None, cache, Job(), table) == ["small"]
    stat = path.stat()
    path.write_bytes(bytes(table["small"].size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(StorageError, match="damaged"):
        check_weights(None, cache, Job(), table)


def test_every_listed_file_has_a_size_a_hash_a_licence_and_a_safe_address():
    for entry in ALL_WEIGHTS.values():
        assert entry.licence
        assert entry.url.startswith("https://")
        assert entry.size == sum(part.size for part in entry.files) > 0
        for part in entry.files:
            assert re.fullmatch("[0-9a-f]{64}", part.sha256)
            assert re.fullmatch(r"[\w.-]+", part.name)
    assert len({part.sha256 for entry in WEIGHTS.values() for part in entry.files}) == len(WEIGHTS)


def test_what_is_verified_once_is_not_hashed_again(tmp_path, monkeypatch):
    table = make_weights(tmp_path)
    path, hashed = tmp_path / "small.pth", []
    monkeypatch.setattr(module, "file_sha256", lambda p, tick: hashed.append(p) or file_sha256(p))
    for _ in range(2):
        verify_weights("small", path, tmp_path / "cache", table=table)
    assert len(hashed) == 1
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        verify_weights("small", path, tmp_path / "cache", table=table)


def test_cut_and_unlisted_files_are_refused(tmp_path):
    table = make_weights(tmp_path) | make_weights(tmp_path, "other")
    path = tmp_path / "small.pth"
    whole = path.read_bytes()
    with pytest.raises(SegmenterError, match="holds the weights other"):
        verify_weights("small", tmp_path / "other.pth", table=table)
    path.write_bytes(whole[:-7])
    with pytest.raises(StorageError, match="cut"):
        verify_weights("small", path, table=table)
    unknown = tmp_path / "mine.pth"
    unknown.write_bytes(whole + b"1")
    with pytest.raises(SegmenterError, match="not listed"):
        verify_weights("small", unknown, table=table)
    assert verify_weights("small", unknown, allow_unlisted=True, table=table) == file_sha256(unknown)


def test_only_tensors_are_unpickled(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"a": Hostile()}, tmp_path / "hostile.pth")
    with pytest.raises(StorageError):
        load_state_dict(tmp_path / "hostile.pth")
    assert not (tmp_path / "owned").exists()
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(StorageError, match="no table"):
        load_state_dict(tmp_path / "list.pth")


def test_weights_are_found_in_the_cache_or_where_the_user_says(tmp_path):
    assert find_weights("sam-vit-b", cache_dir=tmp_path) is None
    file = tmp_path / "weights" / WEIGHTS["sam-vit-b"].file
    file.parent.mkdir()
    file.write_bytes(b"")
    assert find_weights("sam-vit-b", cache_dir=tmp_path) == file
    with pytest.raises(SegmenterError, match="no weights file"):
        find_weights("sam-vit-b", tmp_path / "nowhere.pth")
    with pytest.raises(SegmenterError, match="Choose one of"):
        find_weights("sam-vit-xxl", cache_dir=tmp_path)

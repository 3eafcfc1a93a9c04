"""Weights are found, verified, fetched and read, and a wrong or cut file never gets through."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
from dataclasses import replace

import pytest
import torch

from engine.segmenters import weights as module
from engine.segmenters.weights import (
    WEIGHTS,
    Weights,
    download_weights,
    file_sha256,
    find_weights,
    load_state_dict,
    verify_weights,
)
from sa3d_blender.protocol.errors import SegmenterError, StorageError


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """A static server that resumes, can cut a transfer short and remembers what was asked for."""

    ranges: list  # one entry for each request: its Range header
    cut_at: int | None = None

    def do_GET(self):
        self.ranges.append(self.headers.get("Range"))
        try:
            with open(self.translate_path(self.path), "rb") as stream:
                body = stream.read()
        except OSError:
            self.send_error(404)
            return
        start = int(self.headers["Range"][6:-1]) if self.headers.get("Range") else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client may have heard enough
            self.wfile.write(body[start : self.cut_at])

    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path):
    """A folder served on this machine: (folder, base URL, handler class)."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = type("Handler", (RangeHandler,), {"ranges": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}/", handler
    server.shutdown()
    server.server_close()


def make_weights(folder, name="small"):
    """A real, small weights file in ``folder`` and its table entry."""
    path = folder / f"{name}.pth"
    torch.manual_seed(len(name))
    torch.save({"a": torch.randn(60000)}, path)
    return {name: Weights(name, path.name, "http://unused/", path.stat().st_size, file_sha256(path), "CC0", "vit_b")}


def test_a_download_lands_verified_and_reports_its_progress(served, tmp_path):
    folder, url, _ = served
    table, seen = make_weights(folder), []
    path = download_weights("small", tmp_path / "cache", lambda *step: seen.append(step), url, table)
    assert path.read_bytes() == (folder / "small.pth").read_bytes()
    assert seen[-1] == (table["small"].size, table["small"].size)
    assert not list(path.parent.glob("*.part"))
    assert load_state_dict(path)["a"].shape == (60000,)


def test_a_cut_download_is_taken_up_where_it_stopped(served, tmp_path):
    folder, url, handler = served
    table = make_weights(folder)
    handler.cut_at = 150_000
    with pytest.raises(StorageError, match="again"):
        download_weights("small", tmp_path, base_url=url, table=table)
    assert not (tmp_path / "weights" / "small.pth").exists()
    handler.cut_at = None
    path = download_weights("small", tmp_path, base_url=url, table=table)
    assert handler.ranges == [None, "bytes=131072-"]  # two whole blocks of 64 KiB had arrived
    assert path.read_bytes() == (folder / "small.pth").read_bytes()


def test_another_file_under_the_name_is_refused_and_removed(served, tmp_path):
    folder, url, _ = served
    table = make_weights(folder)
    (folder / "small.pth").write_bytes(b"x" * table["small"].size)
    with pytest.raises(StorageError, match="another file"):
        download_weights("small", tmp_path, base_url=url, table=table)
    assert not [path for path in (tmp_path / "weights").iterdir() if path.is_file()]


def test_a_file_that_never_ends_is_not_written_past_its_listed_size(served, tmp_path):
    folder, url, _ = served
    table = make_weights(folder)
    (folder / "small.pth").write_bytes(b"x" * (5 << 20))
    with pytest.raises(StorageError):
        download_weights("small", tmp_path, base_url=url, table=table)


def test_a_missing_file_on_the_server_is_said_so(served, tmp_path):
    folder, url, _ = served
    table = make_weights(folder)
    (folder / "small.pth").unlink()
    with pytest.raises(StorageError, match="404"):
        download_weights("small", tmp_path, base_url=url, table=table)


def test_no_server_is_a_storage_error(tmp_path):
    table = make_weights(tmp_path)
    with pytest.raises(StorageError, match="failed"):
        download_weights("small", tmp_path, base_url="http://127.0.0.1:9/", table=table)


def test_what_is_verified_once_is_not_hashed_again(tmp_path, monkeypatch):
    table = make_weights(tmp_path)
    path, hashed = tmp_path / "small.pth", []
    monkeypatch.setattr(module, "file_sha256", lambda p: hashed.append(p) or file_sha256(p))
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
        verify_weights("small", tmp_path / "other.pth", table=table | {"small": replace(table["small"], size=None)})
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

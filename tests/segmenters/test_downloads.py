"""A download ends in the very file that is listed or in a sentence, whatever the server and the disk do."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import requests
from filelock import FileLock
from web_server import Served, web_server

from engine.segmenters import downloads
from engine.segmenters.downloads import Expected, fetch
from sa3d_blender.protocol.errors import StorageError
from tests.helpers.patience import patience

ROOT = Path(__file__).resolve().parents[2]
BODY = np.random.default_rng(0).bytes(300_000)
LISTED = Expected(len(BODY), hashlib.sha256(BODY).hexdigest())
OTHER = bytes(len(BODY))


class Stopped(Exception):
    pass


@pytest.fixture
def server():
    with web_server() as served:
        served.files["w.pth"] = BODY
        yield served


@pytest.fixture
def target(tmp_path):
    return tmp_path / "weights" / "w.pth"


def part_of(target: Path) -> Path:
    return target.with_name("w.pth.part")


def left(target: Path) -> set[str]:
    """The names in the folder, without the lock, which stays."""
    return {path.name for path in target.parent.iterdir() if not path.name.startswith(".")}


def begin(target: Path, content: bytes) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(content)


def test_the_file_appears_whole_and_nothing_else_is_left(server: Served, target):
    seen: list[tuple[int, int]] = []
    fetch(server.url + "w.pth", target, LISTED, lambda *step: seen.append(step))
    assert target.read_bytes() == BODY
    assert left(target) == {"w.pth"}
    assert seen[-1] == (LISTED.size, LISTED.size)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_what_a_cut_connection_has_brought_is_kept_and_the_rest_is_asked_for(server: Served, target):
    server.etag, server.cut_at = '"one"', 150_000
    with pytest.raises(StorageError, match="cut") as caught:
        fetch(server.url + "w.pth", target, LISTED)
    assert "goes on where it stopped" in caught.value.cure
    assert not target.exists()
    have = part_of(target).stat().st_size
    assert 150_000 - (1 << 14) <= have <= 150_000  # at most one block is lost
    server.cut_at = None
    fetch(server.url + "w.pth", target, LISTED)
    # once in the same run, which brought nothing more, and once in the next
    assert server.requests[1:] == [("/w.pth", f"bytes={have}-", '"one"')] * 2
    assert target.read_bytes() == BODY
    assert left(target) == {"w.pth"}


def test_a_line_that_keeps_breaking_still_gets_there(server: Served, target, monkeypatch):
    monkeypatch.setattr(downloads, "_PAUSE_S", 0.1)
    server.cut_after = 120_000
    fetch(server.url + "w.pth", target, LISTED)
    assert target.read_bytes() == BODY
    assert len(server.requests) == 3


def test_a_file_that_has_changed_on_the_server_meanwhile_is_fetched_from_its_start(server: Served, target):
    server.etag, server.cut_at, server.files["w.pth"] = '"old"', 150_000, OTHER
    with pytest.raises(StorageError):
        fetch(server.url + "w.pth", target, LISTED)
    server.etag, server.cut_at, server.files["w.pth"] = '"new"', None, BODY
    fetch(server.url + "w.pth", target, LISTED)
    assert target.read_bytes() == BODY
    assert [tag for _, _, tag in server.requests] == [None, '"old"', '"old"']


def test_a_begun_file_of_other_content_is_thrown_away_and_fetched_once_from_the_start(server: Served, target):
    begin(target, b"x" * 1000)
    fetch(server.url + "w.pth", target, LISTED)
    assert [asked for _, asked, _ in server.requests] == ["bytes=1000-", None]
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("surplus", [0, 5])
def test_a_begun_file_that_is_full_but_wrong_is_fetched_from_the_start(server: Served, target, surplus):
    begin(target, OTHER + b"x" * surplus)
    fetch(server.url + "w.pth", target, LISTED)
    assert target.read_bytes() == BODY


def test_a_begun_file_that_was_whole_needs_no_server(server: Served, target):
    begin(target, BODY)
    fetch(server.url + "w.pth", target, LISTED)
    assert target.read_bytes() == BODY
    assert not server.requests


def test_a_server_that_cannot_resume_sends_all_again(server: Served, target):
    begin(target, BODY[:100_000])
    server.resumes = False
    fetch(server.url + "w.pth", target, LISTED)
    assert target.read_bytes() == BODY


def test_a_killed_download_goes_on_where_it_was(server: Served, target):
    server.stall_at = 200_000
    code = (
        "import sys; from pathlib import Path; from engine.segmenters.downloads import Expected, fetch\n"
        f"fetch(sys.argv[1], Path(sys.argv[2]), Expected({LISTED.size}, '{LISTED.sha256}'))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, server.url + "w.pth", str(target)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 30
        while not (part_of(target).is_file() and part_of(target).stat().st_size > 100_000):
            assert time.monotonic() < deadline, "nothing arrived"
            time.sleep(0.05)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    have = part_of(target).stat().st_size
    server.stall_at = None
    fetch(server.url + "w.pth", target, LISTED)
    assert server.requests[-1][1] == f"bytes={have}-"
    assert target.read_bytes() == BODY


def test_another_file_of_the_same_length_is_refused_and_leaves_nothing(server: Served, target):
    server.files["w.pth"] = OTHER
    with pytest.raises(StorageError, match="another file") as caught:
        fetch(server.url + "w.pth", target, LISTED)
    assert caught.value.cure
    assert left(target) == set()


@pytest.mark.parametrize("said", [len(BODY) - 1, len(BODY) + 1, 10**15])
def test_a_length_other_than_the_listed_one_is_refused_before_a_byte_is_written(server: Served, target, said):
    server.content_length = said
    with pytest.raises(StorageError, match=f"has {said} bytes; {len(BODY)} are listed"):
        fetch(server.url + "w.pth", target, LISTED)
    assert left(target) == set()


def test_a_body_without_end_is_read_up_to_the_listed_size_only(server: Served, target):
    server.endless = b"y" * 65536
    fetch(server.url + "w.pth", target, LISTED)  # it begins with the right file
    assert target.read_bytes() == BODY
    target.unlink()
    server.files["w.pth"] = OTHER
    with pytest.raises(StorageError, match="another file"):
        fetch(server.url + "w.pth", target, LISTED)
    assert left(target) == set()


def test_a_part_from_elsewhere_in_the_file_is_refused(server: Served, target):
    begin(target, BODY[:1000])
    server.content_range = f"bytes 0-{len(BODY) - 1}/{len(BODY)}"
    with pytest.raises(StorageError, match="another part"):
        fetch(server.url + "w.pth", target, LISTED)
    assert part_of(target).read_bytes() == BODY[:1000]


def test_a_server_with_a_shorter_file_is_told(server: Served, target):
    begin(target, BODY[:1000])
    server.files["w.pth"] = BODY[:500]
    with pytest.raises(StorageError, match="shorter"):
        fetch(server.url + "w.pth", target, LISTED)


def test_a_packed_body_is_refused(server: Served, target):
    server.encoding = "gzip"
    with pytest.raises(StorageError, match="packs"):
        fetch(server.url + "w.pth", target, LISTED)


@pytest.mark.parametrize("status", [403, 404, 429, 500, 503])
def test_the_servers_refusals_are_told(server: Served, target, status):
    server.status = status
    with pytest.raises(StorageError, match=str(status)) as caught:
        fetch(server.url + "w.pth", target, LISTED)
    assert "by hand" in caught.value.cure


def test_a_server_that_is_not_there_is_told(target):
    with pytest.raises(StorageError, match="connection refused"):
        fetch("http://127.0.0.1:9/w.pth", target, LISTED)


def test_redirects_are_followed_with_the_range_that_was_asked_for(server: Served, target):
    begin(target, BODY[:1000])
    server.redirects = {"/a": "/b", "/b": server.url + "w.pth"}
    fetch(server.url + "a", target, LISTED)
    assert server.requests[-1][:2] == ("/w.pth", "bytes=1000-")
    assert target.read_bytes() == BODY


def test_redirects_in_a_circle_end(server: Served, target):
    server.redirects = {"/a": "/b", "/b": "/a"}
    with pytest.raises(StorageError, match="more than 5 times"):
        fetch(server.url + "a", target, LISTED)
    assert len(server.requests) == 6


@pytest.mark.parametrize("scheme", ["file", "ftp", "data", "javascript"])
def test_redirects_to_anything_but_the_web_are_not_followed(server: Served, target, tmp_path, scheme):
    (tmp_path / "local").write_bytes(BODY)
    server.redirects = {"/a": f"{scheme}://{tmp_path}/local"}
    with pytest.raises(StorageError, match="not followed"):
        fetch(server.url + "a", target, LISTED)
    assert left(target) == set()


def test_redirects_from_https_to_http_are_not_followed(server: Served):
    class Secure(requests.adapters.BaseAdapter):
        """Stands for a server with a certificate: answers every request with a redirect to the plain one."""

        def send(self, request, **options):
            answer = requests.Response()
            answer.status_code, answer.url, answer.request = 302, request.url, request
            answer.headers["location"] = server.url + "w.pth"
            answer.raw = io.BytesIO()
            return answer

        def close(self):
            pass

    with requests.Session() as session:
        session.mount("https://", Secure())
        with pytest.raises(StorageError, match="not followed"):
            downloads._open(session, "https://127.0.0.1/w.pth", "w.pth", {})
    assert not server.requests


@pytest.mark.parametrize("how", ["silent", "stall_at"])
def test_a_server_that_stalls_is_given_up_and_what_came_is_kept(server: Served, target, monkeypatch, how):
    monkeypatch.setattr(downloads, "_STALL_S", 0.6)
    monkeypatch.setattr(downloads, "_CONNECT_S", 0.2)
    setattr(server, how, True if how == "silent" else 200_000)
    started = time.monotonic()
    with pytest.raises(StorageError) as caught:
        fetch(server.url + "w.pth", target, LISTED)
    assert "nothing of w.pth for" in caught.value.what or "does not answer" in caught.value.what
    assert time.monotonic() - started < patience(3)
    if how == "stall_at":
        assert part_of(target).stat().st_size > 150_000


@pytest.mark.parametrize("how", ["silent", "stall_at"])
def test_a_stop_acts_within_a_second_even_while_the_server_is_silent(server: Served, target, how):
    setattr(server, how, True if how == "silent" else 200_000)
    stop, asked = threading.Event(), []

    def progress(done: int, total: int) -> None:
        if stop.is_set():
            raise Stopped

    def press() -> None:
        asked.append(time.monotonic())
        stop.set()

    threading.Timer(0.5, press).start()
    with pytest.raises(Stopped):
        fetch(server.url + "w.pth", target, LISTED, progress)
    assert time.monotonic() - asked[0] < patience(1)
    assert not target.exists()


def test_a_disk_without_room_is_told_before_anything_is_fetched(server: Served, target, monkeypatch):
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(StorageError, match="0 MB free") as caught:
        fetch(server.url + "w.pth", target, LISTED)
    assert "Free disk space" in caught.value.cure
    assert not server.requests


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_a_disk_that_fills_up_meanwhile_is_told(server: Served, target):
    target.parent.mkdir()
    part_of(target).symlink_to("/dev/full")
    with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)) as caught:
        fetch(server.url + "w.pth", target, LISTED)
    assert "Free disk space" in caught.value.cure
    assert not target.exists()


def test_a_place_that_is_no_folder_is_told(server: Served, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't be written"):
        fetch(server.url + "w.pth", tmp_path / "file" / "w.pth", LISTED)


def test_two_downloads_of_one_file_do_not_mix(server: Served, target):
    target.parent.mkdir()
    with FileLock(target.with_name(".w.pth.lock")), pytest.raises(StorageError, match="Another process"):
        fetch(server.url + "w.pth", target, LISTED)
    fetch(server.url + "w.pth", target, LISTED)
    assert target.read_bytes() == BODY

"""`sa3d weights` lists, gets, verifies, removes and says where; it fetches nothing that it wasn't asked for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner
from web_server import Served, web_server

from engine.cli import app
from engine.segmenters import weights, weights_table
from engine.segmenters.weights import ALL_WEIGHTS

CONTENT = b"weights" * 1000


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server that has what the table, for this test, lists as sam-vit-b."""
    with web_server() as served:
        entry = ALL_WEIGHTS["sam-vit-b"]
        served.files[entry.file] = CONTENT
        digest = hashlib.sha256(CONTENT).hexdigest()
        small = replace(entry, base_url=served.url, size=len(CONTENT), sha256=digest)
        for module in (weights, weights_table):
            monkeypatch.setattr(module, "ALL_WEIGHTS", ALL_WEIGHTS | {"sam-vit-b": small})
        monkeypatch.setenv("SA3D_CACHE", str(tmp_path))
        yield served


def sa3d(*words: str):
    return CliRunner().invoke(app, ["weights", *words])


def states() -> dict[str, str]:
    return {each["name"]: each["state"] for each in json.loads(sa3d("list", "--json").stdout)["weights"]}


def test_the_list_names_all_weights_with_size_and_licence_and_asks_no_server(server: Served):
    found = sa3d("list")
    assert found.exit_code == 0
    for name in ALL_WEIGHTS:
        assert name in found.stdout
    assert "2565 MB" in found.stdout
    assert "Apache-2.0" in found.stdout
    assert set(states().values()) == {"missing"}
    assert not server.requests


def test_weights_are_got_verified_and_removed(server: Served, tmp_path):
    got = sa3d("get", "sam-vit-b")
    assert got.exit_code == 0
    place = tmp_path / "weights" / ALL_WEIGHTS["sam-vit-b"].file
    assert got.stdout.strip() == str(place)
    assert "Apache-2.0" in got.stderr
    assert "0.0 MB from 127.0.0.1" in got.stderr
    assert place.read_bytes() == CONTENT
    assert states()["sam-vit-b"] == "verified"
    assert json.loads(sa3d("path", "sam-vit-b", "--json").stdout) == {"path": str(place), "there": True}
    assert json.loads(sa3d("verify", "--json").stdout) == {"verified": ["sam-vit-b"]}
    assert json.loads(sa3d("remove", "sam-vit-b", "--json").stdout)["bytes_freed"] == len(CONTENT)
    assert states()["sam-vit-b"] == "missing"
    assert sa3d("path").stdout.strip() == str(tmp_path / "weights")


def test_a_cut_download_is_one_line_and_goes_on_at_the_next_call(server: Served):
    server.cut_at = 3000
    cut = sa3d("get", "sam-vit-b", "--json")
    assert cut.exit_code == 1
    told = json.loads(cut.stdout)
    assert told["error"] == "storage"
    assert "goes on where it stopped" in told["cure"]
    assert states()["sam-vit-b"] == "partial"
    server.cut_at = None
    assert sa3d("get", "sam-vit-b").exit_code == 0
    assert server.requests[-1][1] == "bytes=3000-"


def test_another_file_is_refused(server: Served):
    server.files[ALL_WEIGHTS["sam-vit-b"].file] = bytes(len(CONTENT))
    found = sa3d("get", "sam-vit-b")
    assert found.exit_code == 1
    assert "another file" in found.stderr
    assert states()["sam-vit-b"] == "missing"


def test_damaged_weights_fail_the_check_and_are_got_again(server: Served, tmp_path):
    sa3d("get", "sam-vit-b")
    place = tmp_path / "weights" / ALL_WEIGHTS["sam-vit-b"].file
    place.write_bytes(bytes(len(CONTENT)))
    found = sa3d("verify", "sam-vit-b")
    assert found.exit_code == 1
    assert "damaged" in found.stderr
    assert "sa3d weights get sam-vit-b" in found.stderr
    assert sa3d("get", "sam-vit-b").exit_code == 0
    assert place.read_bytes() == CONTENT


def test_a_mirror_is_asked_instead(server: Served):
    found = sa3d("get", "sam-vit-b", "--mirror", server.url + "elsewhere")
    assert found.exit_code == 1
    assert "404" in found.stderr
    assert server.requests[0][0] == "/elsewhere/" + ALL_WEIGHTS["sam-vit-b"].file


@pytest.mark.parametrize("words", [["get"], ["verify"], ["remove"], ["path"]])
def test_unknown_names_are_refused_with_the_list(server: Served, words):
    found = sa3d(*words, "sam-vit-xxl")
    assert found.exit_code == 1
    assert "grounding-dino-tiny" in found.stderr
    assert not server.requests

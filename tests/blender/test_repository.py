"""`make repository`: a folder of static files that Blender installs the extension from, and updates it from."""

from __future__ import annotations

import functools
import hashlib
import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.bpy_pythons import PYTHONS, run_in_blender, version_of

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.find_spec("bpy")
VERSION = tomllib.loads((ROOT / "blender_manifest.toml").read_text())["version"]
pytestmark = pytest.mark.skipif(SPEC is None, reason="needs the bpy module")

INSTALL = """
import tomllib
bpy.context.preferences.system.use_online_access = True
repo = bpy.context.preferences.extensions.repos.new(name="SA3D", module="from_sa3d", remote_url=url)
number = len(bpy.context.preferences.extensions.repos) - 1
name = "bl_ext.from_sa3d.sa3d"
def state():
    folder = os.path.join(bpy.utils.user_resource("EXTENSIONS"), "from_sa3d", "sa3d")
    manifest = tomllib.load(open(os.path.join(folder, "blender_manifest.toml"), "rb"))
    return {
        "version": manifest["version"],
        "enabled": name in bpy.context.preferences.addons and hasattr(bpy.types, "SA3D_OT_segment"),
        "marks": [hasattr(sys.modules[f"{name}.sa3d_blender{part}"], "MARK") for part in ("", ".ui.status")],
    }
bpy.ops.extensions.repo_sync(repo_index=number)
bpy.ops.extensions.package_install(repo_index=number, pkg_id="sa3d", enable_on_install=True)
seen["installed"] = state()
"""
UPDATE = """
repo.remote_url = later
bpy.ops.extensions.repo_sync(repo_index=number)
bpy.ops.extensions.package_upgrade_all()
seen["updated"] = state()
bpy.ops.extensions.package_uninstall(repo_index=number, pkg_id="sa3d")
seen["left"] = [name in bpy.context.preferences.addons, hasattr(bpy.types, "SA3D_OT_segment")]
seen["folder"] = os.path.exists(os.path.join(bpy.utils.user_resource("EXTENSIONS"), "from_sa3d", "sa3d"))
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make repository` makes, in a folder of its own."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    folder = tmp_path_factory.mktemp("dist")
    # "-o setup": the environment that runs this test is set up.
    command = ["make", "-o", "setup", "repository", f"BIN={Path(sys.executable).parent}", f"DIST={folder}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "repository/index.json").as_uri() in done.stdout
    return folder / "repository"


def test_it_lists_the_zip_with_what_blender_shows_before_installing(repository):
    assert sorted(path.name for path in repository.iterdir()) == ["index.html", "index.json", f"sa3d-{VERSION}.zip"]
    (listed,) = json.loads((repository / "index.json").read_text())["data"]
    archive = repository / listed["archive_url"]
    assert listed["archive_hash"] == "sha256:" + hashlib.sha256(archive.read_bytes()).hexdigest()
    assert listed["archive_size"] == archive.stat().st_size
    assert set(listed["permissions"]) == {"files", "network"}
    assert (listed["id"], listed["blender_version_min"]) == ("sa3d", "4.2.0")


@pytest.fixture
def served(repository: Path, tmp_path: Path) -> Iterator[str]:
    """The repository behind a web server at ``old/``, and at ``new/`` one with a later version."""
    folder = tmp_path / "served"
    shutil.copytree(repository, folder / "old")
    publish_a_later_version(folder / "old", folder / "new")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def publish_a_later_version(old: Path, new: Path) -> None:
    """9.9.9, with a mark in two modules that tells it from today's."""
    new.mkdir()
    (archive,) = old.glob("*.zip")
    with zipfile.ZipFile(archive) as before, zipfile.ZipFile(new / "sa3d-9.9.9.zip", "w") as after:
        for name in before.namelist():
            data = before.read(name)
            if name == "blender_manifest.toml":
                data = re.sub(rb'(?m)^version = ".*"', b'version = "9.9.9"', data)
            elif name in ("sa3d_blender/__init__.py", "sa3d_blender/ui/status.py"):
                data += b"\nMARK = True\n"
            after.writestr(name, data)
    assert SPEC is not None and SPEC.origin is not None
    tool = next(Path(SPEC.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    subprocess.run([sys.executable, tool, "server-generate", "--repo-dir", new], check=True, timeout=60)


def test_blender_installs_it_from_a_folder(repository, tmp_path):
    seen = run_in_blender(sys.executable, INSTALL, tmp_path, url=(repository / "index.json").as_uri())
    assert seen["installed"] == {"version": VERSION, "enabled": True, "marks": [False, False]}


@pytest.mark.parametrize("python", PYTHONS, ids=version_of)
def test_blender_installs_it_from_a_web_server_updates_it_and_removes_it(served, tmp_path, python):
    urls = {"url": f"{served}/old/index.json", "later": f"{served}/new/index.json"}
    seen = run_in_blender(python, INSTALL + UPDATE, tmp_path, **urls)
    assert seen["installed"] == {"version": VERSION, "enabled": True, "marks": [False, False]}
    # What ran before is gone from memory: every module is the later version's.
    assert seen["updated"] == {"version": "9.9.9", "enabled": True, "marks": [True, True]}
    assert seen["left"] == [False, False] and not seen["folder"]

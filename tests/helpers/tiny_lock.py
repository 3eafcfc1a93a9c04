"""A lock of two tiny wheels, an index that holds them, and an engine that needs them: an installation in seconds."""

from __future__ import annotations

import base64
import hashlib
import http.server
import shutil
import sys
import threading
import zipfile
from functools import partial
from pathlib import Path

from sa3d_blender.client.locked import this_platform

ROOT = Path(__file__).resolve().parents[2]
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"

# Says hello as the engine does, and what it has: only if both wheels are there.
ENGINE = """
import os, tiny, tinytorch
from sa3d_blender.protocol.framing import CLIENT_READS, write_all
from sa3d_blender.protocol.messages import Capabilities, Hello, encode
about = {"versions": {"tiny": tiny.VERSION, "tinytorch": tinytorch.VERSION}}
for message in (Hello("0.1.0", 1, {}), Capabilities(about)):
    write_all(lambda data: os.write(1, data), encode(message, CLIENT_READS))
while os.read(0, 65536):
    pass
"""


def wheel(folder: Path, name: str, version: str = "1.0") -> Path:
    """A wheel with one module that knows its version."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f'VERSION = "{version}"\n',
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{about}/RECORD,,\n"
    for each, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{each},sha256={digest},{len(text)}\n"
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in (files | {f"{about}/RECORD": record}).items():
            archive.writestr(zipfile.ZipInfo(each), text)  # a date of its own would make another hash
    return path


def lock(folder: Path, *wheels: Path, more: str = "") -> Path:
    """A lock of the first wheel and, as Torch's build for the CPU, the second. ``more``: lines after them."""
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(path.stat().st_size for path in wheels)
    for name, path in zip(("engine.txt", "torch-cpu.txt"), wheels, strict=True):
        module, version = path.name.split("-")[:2]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        head = f"#: download cpu {this_platform()} {PYTHON} {total}\n"
        (folder / name).write_text(f"{head}{module}=={version} \\\n    --hash=sha256:{digest}\n{more}")
    return folder


def source(folder: Path) -> Path:
    """A folder as the extension's, with an engine in it that needs both wheels."""
    (folder / "engine").mkdir(parents=True)
    (folder / "engine" / "__init__.py").touch()
    (folder / "engine" / "server_start.py").write_text(ENGINE)
    (folder / "sa3d_blender").mkdir()
    (folder / "sa3d_blender" / "__init__.py").touch()
    shutil.copytree(ROOT / "sa3d_blender" / "protocol", folder / "sa3d_blender" / "protocol")
    return folder


class SlowIndex(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and never comes to the end of a wheel whose name begins with ``stuck``."""

    stuck = "tinytorch"
    begun: threading.Event

    def do_GET(self) -> None:
        name = self.path.strip("/").split("/")[-1]
        if not name.endswith(".whl"):  # a project's page; the folders are flat
            links = "".join(
                f'<a href="/{path.name}">{path.name}</a>'
                for path in Path(self.directory).glob("*.whl")
                if path.name.startswith(name + "-")
            )
            self._head("text/html", len(links))
            self.wfile.write(links.encode())
            return
        data = Path(self.directory, name).read_bytes()
        self._head("application/octet-stream", len(data))
        if name.startswith(self.stuck):
            self.wfile.write(data[:100])
            self.wfile.flush()
            self.begun.set()
            self.connection.recv(1)  # returns when the other side has gone
            return
        self.wfile.write(data)

    def _head(self, kind: str, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


def slow_index(folder: Path) -> tuple[http.server.ThreadingHTTPServer, threading.Event, str]:
    """(server to shut down, set when the stuck wheel is on its way, address for pip)."""
    begun = threading.Event()
    handler = type("Handler", (SlowIndex,), {"begun": begun})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, begun, f"http://127.0.0.1:{server.server_port}/simple/"

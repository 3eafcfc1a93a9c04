"""A web server on this machine that serves one file, and cuts, stalls, redirects and lies when it is told to."""

from __future__ import annotations

import contextlib
import http.server
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Served:
    """What the server does. ``requests`` remembers (path, Range, If-Range) of each request."""

    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    url: str = ""
    etag: str | None = None
    cut_at: int | None = None  # bytes of a body that are sent before the connection is closed
    cut_after: int | None = None  # bytes of each answer's body that are sent before the connection is closed
    stall_at: int | None = None  # bytes of a body after which nothing is sent any more
    silent: bool = False  # not even a status
    endless: bytes | None = None  # sent for ever after the body, without a Content-Length
    content_length: int | None = None  # what is said, whatever is sent
    content_range: str | None = None
    encoding: str | None = None
    status: int | None = None
    resumes: bool = True
    redirects: dict[str, str] = field(default_factory=dict)  # path -> Location
    released: threading.Event = field(default_factory=threading.Event)  # set at the end: lets stalled threads go


class _Handler(http.server.BaseHTTPRequestHandler):
    served: Served

    def do_GET(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client may have heard enough
            self._answer()

    def _answer(self) -> None:
        told = self.served
        told.requests.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        if told.silent:
            told.released.wait(30)
            return
        if self.path in told.redirects:
            self.send_response(302)
            self.send_header("Location", told.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = told.files.get(self.path.lstrip("/"))
        if told.status is not None or body is None:
            self.send_error(told.status or 404)
            return
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        start = int(asked[6:-1]) if asked and told.resumes and condition in (None, told.etag) else 0
        if start >= len(body) and start:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", told.content_range or f"bytes {start}-{len(body) - 1}/{len(body)}")
        if told.etag is not None:
            self.send_header("ETag", told.etag)
        if told.encoding is not None:
            self.send_header("Content-Encoding", told.encoding)
        if told.endless is None:
            self.send_header("Content-Length", str(told.content_length or len(body) - start))
        self.end_headers()
        if told.stall_at is not None:
            self.wfile.write(body[start : told.stall_at])
            told.released.wait(30)
            return
        ends = [told.cut_at, None if told.cut_after is None else start + told.cut_after]
        self.wfile.write(body[start : min((end for end in ends if end is not None), default=None)])
        while told.endless is not None and not told.released.is_set():
            self.wfile.write(told.endless)

    def log_message(self, *words: object) -> None:
        pass


@contextlib.contextmanager
def web_server() -> Iterator[Served]:
    """A server on 127.0.0.1 that lives for a ``with`` statement."""
    served = Served()
    handler = type("Handler", (_Handler,), {"served": served})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    served.url = f"http://127.0.0.1:{server.server_port}/"
    proxies = {name: os.environ.get(name) for name in ("no_proxy", "NO_PROXY")}
    os.environ.update(dict.fromkeys(proxies, "127.0.0.1"))  # whatever the machine's way to the web is
    try:
        yield served
    finally:
        for name, value in proxies.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        served.released.set()
        server.shutdown()
        server.server_close()

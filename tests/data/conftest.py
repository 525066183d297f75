"""A mirror on the loopback interface that serves whole, short, altered and missing files; a folder of files to supply."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ebm.data.download import Source


@dataclass
class Mirror:
    """`bodies` by path; `lengths` overrides a body's Content-Length, None leaves the header out."""

    url: str
    bodies: dict[str, bytes] = field(default_factory=dict)
    lengths: dict[str, int | None] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path[1:]
            mirror.requests.append(path)
            body = mirror.bodies.get(path)
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            length = mirror.lengths.get(path, len(body))
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("EBM_DATA", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        mirror = Mirror(f"http://127.0.0.1:{server.server_address[1]}/")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield mirror
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache folder that does not exist yet."""
    return tmp_path / "cache"


@pytest.fixture
def supply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Source, bytes], Source]:
    """Puts a file where a source lies below EBM_DATA, and returns the source with the checksum of that file."""
    monkeypatch.setenv("EBM_DATA", str(tmp_path / "supplied"))
    (tmp_path / "supplied").mkdir()

    def write(source: Source, content: bytes) -> Source:
        path = tmp_path / "supplied" / source.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return dataclasses.replace(source, checksum=hashlib.sha256(content).hexdigest())

    return write

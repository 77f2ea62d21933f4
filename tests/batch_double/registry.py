"""A registry of one image, which wants to know who pulls: enough of the distribution API for that."""

import base64
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.ports import free_port

USER, PASSWORD = "puller", "a registry's password"


@contextmanager
def registry(image: str, folder: Path) -> Iterator[str]:
    """Serves an image of podman's; its name there, without scheme."""
    layout = folder / "layout"
    subprocess.run(
        ["podman", "save", "--quiet", "--format=oci-dir", "--output", str(layout), image],
        check=True,
        capture_output=True,
    )
    port = free_port()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Handler,), {"layout": layout}))
    threading.Thread(target=server.serve_forever, name="registry", daemon=True).start()
    name = f"127.0.0.1:{port}/private/tools:1"
    try:
        yield name
    finally:
        server.shutdown()
        server.server_close()
        subprocess.run(["podman", "rmi", "--force", name], check=False, capture_output=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    layout: Path

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        given = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {given}":
            self._say(401, b"{}", "application/json", {"WWW-Authenticate": 'Basic realm="here"'})
        elif self.path == "/v2/":
            self._say(200, b"{}", "application/json")
        elif "/manifests/" in self.path:
            about: dict[str, Any] = json.loads((self.layout / "index.json").read_bytes())["manifests"][0]
            self._say(200, self._blob(about["digest"]), about["mediaType"])
        else:
            self._say(200, self._blob(self.path.rpartition("/")[2]), "application/octet-stream")

    do_HEAD = do_GET  # noqa: N815 - a name of the library

    def _blob(self, digest: str) -> bytes:
        return (self.layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()

    def _say(self, status: int, content: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

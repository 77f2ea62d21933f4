"""Blobs in Azure without a key: whose identity the store takes, by what a pod or a machine of Azure's has."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import obstore
import pytest

from ion.adapters.blobs.objects_client import let_go, made
from ion.adapters.blobs.objects_settings import ObjectsSettings


class Azure(ThreadingHTTPServer):
    """Gives a token to who asks, and a blob to who shows it; remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.heard: list[tuple[str, dict[str, list[str]]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Asked(BaseHTTPRequestHandler):
    server: Azure

    def do_POST(self) -> None:
        said = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.heard.append((self.path, parse_qs(said)))
        self._answer(self._token())

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        self.server.heard.append((path, {**query, "authorization": [self.headers.get("authorization", "")]}))
        self._answer(b"content" if path.startswith("/acme/") else self._token())

    def _token(self) -> bytes:
        return json.dumps(
            {"access_token": "a-token", "expires_in": 3600, "expires_on": "1999999999", "token_type": "Bearer"}
        ).encode()

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.send_header("etag", '"1"')
        self.send_header("last-modified", "Sun, 29 Nov 2026 11:00:00 GMT")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Azure]:
    for name in ("CLIENT_ID", "TENANT_ID", "FEDERATED_TOKEN_FILE", "AUTHORITY_HOST"):
        monkeypatch.delenv(f"AZURE_{name}", raising=False)
    server = Azure()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def read(azure: Azure) -> bytes:
    """A blob, by a store whose settings name an account and nothing else of who this is."""
    settings = ObjectsSettings(url="az://ion/media", account="acme", endpoint=f"{azure.url}/acme", allow_http=True)
    answer = await obstore.get_async(made(settings), "media/a.txt")
    content = bytes(await answer.bytes_async())
    await let_go()
    return content


async def test_a_pod_is_the_identity_of_its_account(
    azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the token and the variables that AKS puts into a pod with workload identity."""
    (tmp_path / "token").write_text("said-by-the-cluster")
    monkeypatch.setenv("AZURE_CLIENT_ID", "the-identity")
    monkeypatch.setenv("AZURE_TENANT_ID", "the-tenant")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", f"{azure.url}/")
    assert await read(azure) == b"content"
    (path, asked), (_, shown) = azure.heard
    assert path == "/the-tenant/oauth2/v2.0/token"
    assert (asked["client_id"], asked["client_assertion"]) == (["the-identity"], ["said-by-the-cluster"])
    assert shown["authorization"] == ["Bearer a-token"]


async def test_a_machine_with_one_identity_is_that(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of Batch is asked for a token without saying whose, so it must not have a second one."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{azure.url}/metadata/identity/oauth2/token")
    assert await read(azure) == b"content"
    (path, asked), (_, shown) = azure.heard
    assert path == "/metadata/identity/oauth2/token"
    assert asked["resource"] == ["https://storage.azure.com"]
    assert not asked.keys() & {"client_id", "object_id", "mi_res_id", "msi_res_id"}
    assert shown["authorization"] == ["Bearer a-token"]

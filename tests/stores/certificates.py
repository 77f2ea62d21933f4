"""Certificates for servers and clients of tests, made by openssl: authorities, and what they sign."""

import secrets
import shutil
import subprocess
from pathlib import Path

from tests.stores.server import lacking

DAYS = 2


class Certificates:
    """A folder with the authorities `ca` and `stranger`; each certificate is `NAME.pem`, its key `NAME.key`."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            lacking("there is no openssl: install the package openssl")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        for name in ("ca", "stranger"):
            _openssl(folder, *_NEW, "-x509", "-days", str(DAYS), *_files(name), "-subj", f"/CN={name}")

    def make(self, name: str, *, by: str = "ca", subject: str = "", also: str = "") -> None:
        """One for the host or the user `name`, and for what is `also` named: `IP:127.0.0.1`."""
        asked, more = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        more.write_text(f"subjectAltName={','.join(filter(None, [f'DNS:{name}', also]))}\n")
        out = ("-keyout", f"{name}.key", "-out", asked.name, "-subj", subject or f"/CN={name}")
        _openssl(self.folder, *_NEW, *out)
        by_whom = ("-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-set_serial", str(secrets.randbits(63) + 1))
        sign = ("x509", "-req", "-in", asked.name, *by_whom, "-extfile", more.name, "-days", str(DAYS))
        _openssl(self.folder, *sign, "-out", f"{name}.pem")

    def pem(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")

    def both(self, name: str) -> str:
        """The certificate and its key in one file."""
        file = self.folder / f"{name}.both.pem"
        file.write_text(Path(self.pem(name)).read_text() + Path(self.key(name)).read_text())
        return str(file)

    def key(self, name: str) -> str:
        return str(self.folder / f"{name}.key")


_NEW = ("req", "-newkey", "rsa:2048", "-nodes")


def _files(name: str) -> tuple[str, ...]:
    return ("-keyout", f"{name}.key", "-out", f"{name}.pem")


def _openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

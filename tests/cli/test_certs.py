"""`ion certs`: a small authority in a folder, made and kept by commands."""

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from ion.cli.main import main


class Certs:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(main, ["certs", *arguments, "--folder", str(self.folder)])
        assert result.exit_code == code, result.output
        return result

    def list(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self("list", "--json").stdout)
        return found

    def content(self) -> dict[str, bytes]:
        return {str(file.relative_to(self.folder)): file.read_bytes() for file in self.folder.rglob("*.*")}


@pytest.fixture
def certs(tmp_path: Path) -> Certs:
    certs = Certs(tmp_path / "home" / "certs")
    certs("init", "--host", "ion.acme", "--host", "10.0.0.7")
    return certs


def test_what_is_made_is_closed_to_others(certs: Certs) -> None:
    """The folders, and every file in them: a key that somebody can read is nobody's."""
    certs("client", "--name", "alice", "--role", "operator")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [certs.folder, *certs.folder.rglob("*")]}
    assert {modes[name] for name in ("certs", "clients", "issued")} == {0o700}
    assert {modes[name] for name in ("ca.key", "server.key", "alice.key")} == {0o600}
    assert not [name for name, mode in modes.items() if mode & 0o077]


def test_the_servers_certificate_holds_for_its_hosts_and_this_one(certs: Certs) -> None:
    """By name and by address; it is signed by the authority, which openssl confirms."""
    made = x509.load_pem_x509_certificate((certs.folder / "server.pem").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ion.acme", "localhost"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7", "127.0.0.1", "::1"]
    verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.pem", "server.pem"]
    assert subprocess.run(verify, cwd=certs.folder, check=True, capture_output=True).stdout == b"server.pem: OK\n"


def test_a_clients_certificate_carries_its_role(certs: Certs) -> None:
    """In the subject, with the pipelines; what it can be used with is printed."""
    said = certs("client", "--name", "alice", "--role", "operator", "--pipeline", "media", "--pipeline", "books")
    assert f"--certfile {certs.folder}/clients/alice.pem --keyfile {certs.folder}/clients/alice.key" in said.stdout
    made = x509.load_pem_x509_certificate((certs.folder / "clients/alice.pem").read_bytes())
    assert made.subject.rfc4514_string() == "CN=alice,OU=operator,OU=pipeline:media,OU=pipeline:books,O=ion"
    verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "ca.pem", "clients/alice.pem"]
    subprocess.run(verify, cwd=certs.folder, check=True, capture_output=True)


def test_a_list_shows_who_has_what_until_when(certs: Certs) -> None:
    """With the server's own; a revoked one stays in it."""
    certs("client", "--name", "alice", "--role", "operator", "--pipeline", "media", "--days", "30")
    certs("client", "--name", "bob", "--role", "viewer")
    certs("revoke", "bob")
    rows = [(row["name"], row["role"], row["pipelines"], row["state"]) for row in certs.list()]
    assert rows == [
        ("alice", "operator", "media", "valid"), ("bob", "viewer", "", "revoked"), ("ion.acme", "server", "", "valid"),
    ]  # fmt: skip
    assert certs("list").stdout.splitlines()[0].split() == ["NAME", "ROLE", "PIPELINES", "EXPIRES", "STATE", "SERIAL"]


def test_a_revoked_certificate_is_in_a_list_that_openssl_reads(certs: Certs) -> None:
    """By name, or one of a name by its serial; twice is refused, and so is who has none."""
    for again in ((), ("--replace",)):
        certs("client", "--name", "alice", "--role", "viewer", *again)
    first, second = (row["serial"] for row in certs.list() if row["name"] == "alice")
    assert certs("revoke", first).stdout == f"revoked: {first} of alice\n"
    assert certs("revoke", "alice").stdout == f"revoked: {second} of alice\n"
    assert "are revoked already" in certs("revoke", "alice", code=2).output
    assert "no certificate was given to 'carol'" in certs("revoke", "carol", code=2).output
    show = ["openssl", "crl", "-in", "revoked.pem", "-CAfile", "ca.pem", "-verify", "-noout", "-text"]
    told = subprocess.run(show, cwd=certs.folder, check=True, capture_output=True, text=True)
    assert "verify OK" in told.stderr
    assert {int(one, 16) for one in (first, second)} == {
        int(line.split(":")[1], 16) for line in told.stdout.splitlines() if "Serial Number:" in line
    }


def test_nothing_is_overwritten_unasked(certs: Certs) -> None:
    """Neither the authority nor a certificate: not one byte changes, and the sentence says how to ask."""
    certs("client", "--name", "alice", "--role", "operator")
    before = certs.content()
    assert "holds an authority already: `--replace` gives" in certs("init", code=2).output
    refused = certs("client", "--name", "alice", "--role", "admin", code=2)
    assert "alice has a certificate already" in refused.output
    assert certs.content() == before
    certs("init", "--host", "other", "--replace")
    after = certs.content()
    assert {name for name in before if before[name] != after[name]} == {"server.pem", "server.key"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("client", "--name", "../ca", "--role", "admin"), "'../ca' cannot name a client"),
        (("client", "--name", "a", "--role", "admin", "--days", "0"), "valid for 1 to 3650 days, not 0"),
        (("client", "--name", "a", "--role", "admin", "--pipeline", "x" * 56), "use 1 to 55 characters"),
        (("client", "--name", "a", "--role", "root"), "Invalid value for '--role'"),
        (("init", "--replace", "--host", "bücher"), "'bücher' is no host's name"),
    ],
)
def test_what_cannot_be_used_is_refused(certs: Certs, arguments: tuple[str, ...], said: str) -> None:
    """With one sentence, and nothing is made."""
    before = certs.content()
    assert said in certs(*arguments, code=2).output
    assert certs.content() == before


@pytest.mark.parametrize("arguments", [("list",), ("revoke", "a"), ("client", "--name", "a", "--role", "viewer")])
def test_without_an_authority_it_is_said_how_to_make_one(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A look makes none."""
    certs = Certs(tmp_path / "none")
    assert "make one by `ion certs init`" in certs(*arguments, code=2).output
    assert not certs.folder.exists()

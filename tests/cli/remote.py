"""A store twice: one that a real server serves over mutual TLS, and a copy that commands work on directly."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from tests.cli.programs import Folder, Program, until
from tests.ports import free_port

from ion.cli.main import main
from ion.management.access.authority import Authority
from ion.model.role import Role

SAID = re.compile(r"^management API: 127\.0\.0\.1:(\d+) \(TLS\)$", re.MULTILINE)


def invoke(*arguments: str, code: int | None = 0, env: Mapping[str, str] | None = None) -> Result:
    """Runs the command line; anything that is no answer keeps its traceback."""
    result = CliRunner().invoke(main, arguments, env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert code is None or result.exit_code == code, result.output
    return result


class Remote:
    """The server, a client's options to reach it, and the copy. `folder` is what a test writes into."""

    def __init__(self, store: Path, place: Folder) -> None:
        self.store, self.folder = store, place.path
        self.twin = self.folder / "twin" / ".ion"
        shutil.copytree(store, self.twin)
        self.authority = Authority(self.folder / "certs")
        self.authority.init(())
        self.server = self._start(place)
        self.endpoint = f"localhost:{self._port()}"
        self.options = self.client("tester", Role.ADMIN)

    def client(self, name: str, role: Role) -> tuple[str, ...]:
        """The options of a new client with a certificate of its own."""
        self.authority.client(name, role, ())
        own = self.authority.files_of(name)
        files = ("--certfile", str(own.certificate), "--keyfile", str(own.key), "--cacertfile", str(self.authority.ca))
        return ("--endpoint", self.endpoint, *files)

    def ion(self, *arguments: str, code: int | None = 0) -> Result:
        """Runs a command on the server."""
        return invoke(*self.options, *arguments, code=code)

    def same(self, *arguments: str) -> Result:
        """Runs a command on the server and on the copy, which must say the same; gives what the server's said."""
        there = self.ion(*arguments, code=None)
        here = invoke("--store", str(self.twin), *arguments, code=None)
        for said_there, said_here in zip(self._told(there), self._told(here), strict=True):
            assert str(said_there).splitlines() == str(said_here).splitlines(), arguments
        assert there.stderr.startswith(f"ion: {self.endpoint}\n"), there.stderr
        assert here.stderr.startswith("store: "), here.stderr
        return there

    def _told(self, result: Result) -> tuple[int, Any, Any]:
        """What it said, without where the store lies."""
        out, err = (text.replace(str(self.twin), str(self.store)) for text in (result.stdout, result.stderr))
        return result.exit_code, out, err.partition("\n")[2]

    def _start(self, place: Folder) -> Program:
        certificate, key, ca = map(str, self.authority.server)
        files = ("--certfile", certificate, "--keyfile", key, "--cacertfile", ca)
        ports = ("--host", "127.0.0.1", "--port", str(free_port()), "--metrics-port", "off")
        return place.start("--store", str(self.store), "management", "start", *ports, *files)

    def _port(self) -> int:
        until(lambda: SAID.search(self.server.out) is not None)
        found = SAID.search(self.server.out)
        assert found is not None
        return int(found[1])

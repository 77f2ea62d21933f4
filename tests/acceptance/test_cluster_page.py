"""The page "From zero to a cluster": its commands, one after the other, with real servers and two dispatchers."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.acceptance.conftest import PATIENCE_S
from tests.buses.nats_server import NatsServer
from tests.cli.programs import until
from tests.ports import free_ports
from tests.stores.postgres_server import PostgresServer
from tests.stores.server import ObjectServer

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
NOT_HERE = ("pip ", "createuser ", "aws ", "rsync ")
"""What sets up hosts and servers: the test has its own, and one folder for all of them."""
BEN = "--context c --certfile ~/.ion/certs/clients/ben.pem --keyfile ~/.ion/certs/clients/ben.key"
FAILS = {
    "ion flow wait second --timeout 1m": 1,  # the first time: it has a dead letter
    f"ion apply --profile cluster {BEN}": 2,
    f"ion job list {BEN}": 2,
}


class Host:
    """A folder of its own for what runs on it; the pipeline's folder is shared, as if it had been copied."""

    def __init__(self, folder: Path, port: int, environ: dict[str, str]) -> None:
        self.port = port
        self._environ = environ | {"ION_HOME": str(folder / ".ion"), "ION_MANAGEMENT_PORT": str(port)}
        self._said = folder / "said"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()

    def start(self, command: str, folder: Path) -> None:
        """Returns when it serves."""
        if "management start" in command:
            command += f" --port {self.port} --metrics-port off"
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=folder, env=self._environ, stdout=said, stderr=said
            )
        says = {f"management API: 0.0.0.0:{self.port} (TLS)"} | ({"front API: "} if "ion up" in command else set())
        until(lambda: all(one in self._said.read_text() for one in says))

    def end(self, how: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(PATIENCE_S)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Laptop:
    """Where the commands are given. `local` names, by a pattern, what stands here for a host of the page."""

    def __init__(self, srv: Path, environ: dict[str, str], local: dict[str, str]) -> None:
        self.folder = srv
        self._environ, self._local = environ, local
        self._fails = dict(FAILS)

    def run(self, command: str) -> None:
        done = subprocess.run(
            ["bash", "-c", self._here(command)],
            cwd=self.folder,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
        )
        print(f"laptop$ {command}\n{done.stderr}{done.stdout}", end="")
        assert done.returncode == self._fails.pop(command, 0), (command, done.stderr, done.stdout)
        if command.endswith("ion init hello"):
            self.folder /= "hello"
            with (self.folder / "ion.yaml").open("a") as file:
                file.write("\n" + self._here(yaml_block("name: hello")))
            Path(self._environ["HOME"], ".ioncli.yaml").write_text(self._here(yaml_block("certfile:")))

    def _here(self, text: str) -> str:
        for there, here in self._local.items():
            text = re.sub(there, here, text)
        return text


def commands() -> Iterator[tuple[str, str]]:
    """Of the whole page: where, and what."""
    for block in re.findall(r"(?ms)^```console\n(.*?)^```", PAGE):
        for where, command in re.findall(r"(?m)^(laptop|[a-c])\$ (.+)$", block):
            if not command.startswith(NOT_HERE):
                yield where, command.partition(" && rsync ")[0]


def yaml_block(beginning: str) -> str:
    found = re.search(rf"(?ms)^```yaml\n({beginning}.*?)^```", PAGE)
    assert found is not None
    return found[1]


@pytest.fixture
def stands_for(
    tmp_path: Path, postgres: PostgresServer, seaweed: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """The servers of the page, as they are here."""
    ours, files = postgres.settings(), seaweed.fresh("cluster-page")
    ledger = f"kind: postgres, port: {ours.port}, database: postgres, user: ion, schema: {ours.schema}"
    blobs = f'kind: s3, url: "{files.url}", endpoint: "{files.endpoint}", access_key_id: ion, allow_http: true'
    monkeypatch.setenv("ION_BLOBS_SECRET_ACCESS_KEY", files.secret_access_key)
    with NatsServer(tmp_path / "nats") as nats:
        yield {
            r"ledger: .*": f"ledger: {{{ledger}}}\n    front: {{port: 0}}",
            r"blobs: .*": f"blobs: {{{blobs}}}",
            r"nats://nats.acme:4222": nats.url,
        }


def test_the_pages_commands_lead_to_a_cluster(
    tmp_path: Path, stands_for: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each ends as the page says; the hosts are folders and ports of this machine."""
    srv, home = tmp_path / "srv", tmp_path / "home"
    srv.mkdir()
    home.mkdir()
    monkeypatch.delenv("ION_MANAGEMENT_PORT")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {**os.environ, "HOME": str(home), "PATH": path}
    ports = dict(zip("abc", free_ports(3), strict=True))
    names = {rf"\b{name}\.acme:9000": f"localhost:{port}" for name, port in ports.items()}
    hosts = {name: Host(tmp_path / name, port, environ) for name, port in ports.items()}
    here = {r"/srv\b": str(srv), "--timeout 1m": f"--timeout {PATIENCE_S:g}s"}
    laptop = Laptop(srv, environ, {**stands_for, **names, **here})
    with ExitStack() as stack:
        for host in hosts.values():
            stack.callback(host.close)
        for where, command in commands():
            if where == "laptop":
                laptop.run(command)
            elif command.startswith("kill -9"):
                hosts[where].end(signal.SIGKILL)
            else:
                hosts[where].start(command.removeprefix("cd /srv/hello && "), laptop.folder)
        assert [hosts[name].end(signal.SIGTERM) for name in "bc"] == [0, 0]

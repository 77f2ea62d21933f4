"""The page "From zero to a cluster": its commands, one after the other, with real servers and two dispatchers."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.buses.nats_server import NatsServer
from tests.cli.programs import until
from tests.stores.postgres_server import PostgresServer
from tests.stores.server import ObjectServer, free_ports

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
NOT_HERE = ("pip ", "createuser ", "aws ", "rsync ")
"""What sets up hosts and servers: the test has its own."""
FAILS = {"ion flow wait second --timeout 1m": 1}
"""The first time: the flow has a dead letter."""


class Host:
    """A folder of its own for what runs on it; the pipeline's folder is shared, as if it had been copied."""

    def __init__(self, folder: Path, port: int, environ: dict[str, str]) -> None:
        self.folder, self.port = folder, port
        self._environ = environ | {"ION_HOME": str(folder / ".ion"), "ION_MANAGEMENT_PORT": str(port)}
        self._said = folder / "said"
        folder.mkdir()

    def up(self, command: str, start: Path) -> None:
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=start, env=self._environ, stdout=said, stderr=said
            )
        until(lambda: f":{self.port} (TLS)" in self._said.read_text() and "front API" in self._said.read_text())

    def end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        self._process.wait(60)


def commands() -> list[tuple[str, str]]:
    """Of the whole page: where, and what."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return [tuple(found) for block in blocks for found in re.findall(r"(?m)^(laptop|a|b)\$ (.+)$", block)]


def yaml_block(beginning: str) -> str:
    return next(block for block in re.findall(r"(?ms)^```yaml\n(.*?)^```", PAGE) if block.startswith(beginning))


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.mark.timeout(300)
def test_the_pages_commands_lead_to_a_cluster(
    tmp_path: Path, postgres: PostgresServer, seaweed: ObjectServer, nats: NatsServer
) -> None:
    """Each ends as the page says; hosts and servers are this machine's, under the names that the page gives them."""
    home, srv, ports = tmp_path / "home", tmp_path / "srv", free_ports(2)
    home.mkdir()
    srv.mkdir()
    ours, files = postgres.settings(), seaweed.fresh("cluster-page")
    ledger = f"kind: postgres, port: {ours.port}, database: postgres, user: ion, schema: {ours.schema}"
    blobs = f'kind: s3, url: "{files.url}", endpoint: "{files.endpoint}", access_key_id: ion, allow_http: true'
    here = {
        r"ledger: .*": f"ledger: {{{ledger}}}\n    front: {{port: 0}}",
        r"blobs: .*": f"blobs: {{{blobs}}}",
        r"nats://nats.acme:4222": nats.url,
        r"a\.acme:9000": f"localhost:{ports[0]}",
        r"b\.acme:9000": f"localhost:{ports[1]}",
        r"/srv\b": str(srv),
    }

    def local(text: str) -> str:
        for there, ours in here.items():
            text = re.sub(there, ours, text)
        return text

    environ = {name: value for name, value in os.environ.items() if not name.startswith("ION_")}
    environ |= {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}", "ION_METRICS_PORT": "off"}
    environ["ION_BLOBS_SECRET_ACCESS_KEY"] = files.secret_access_key
    hosts = {name: Host(tmp_path / name, port, environ) for name, port in zip("ab", ports, strict=True)}
    start, expected = srv, dict(FAILS)
    try:
        for where, command in commands():
            if command.startswith(NOT_HERE):
                continue
            if command.startswith("kill -9"):
                hosts[where].end(signal.SIGKILL)
                continue
            if where in hosts:
                hosts[where].up(command.partition("&& ")[2], start)
                continue
            done = subprocess.run(
                ["bash", "-c", local(command)], cwd=start, env=environ, capture_output=True, text=True, check=False
            )
            print(f"laptop$ {command}\n{done.stderr}{done.stdout}", end="")
            assert done.returncode == expected.pop(command, 0), (command, done.stderr, done.stdout)
            if command.endswith("ion init hello"):
                start = srv / "hello"
                with (start / "ion.yaml").open("a") as file:
                    file.write("\n" + local(yaml_block("name: hello")))
                (home / ".ioncli.yaml").write_text(local(yaml_block("certfile:")))
        hosts["b"].end(signal.SIGTERM)
    finally:
        for host in hosts.values():
            host._process.kill()

"""A RabbitMQ node of the tests' own: everything it writes lies in one folder, everything it opens is on loopback."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.ports import free_ports

from ion.adapters.bus.rabbitmq_settings import RabbitSettings

BIN = Path("/usr/lib/rabbitmq/bin")
"""Debian's own programs; those in the path change to the user of the service first."""
PATIENCE_S = 240.0
CONFIGURATION = """
listeners.tcp.1 = 127.0.0.1:{port}
disk_free_limit.absolute = 50MB
log.console = true
log.console.level = warning
log.file = false
"""

TLS = """
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {folder}/ca.pem
ssl_options.certfile = {folder}/server.pem
ssl_options.keyfile = {folder}/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
"""


class Broker:
    """One node, which may be killed and started again on what it wrote."""

    def __init__(self, folder: Path) -> None:
        self.port, self.tls_port, self._dist_port, self._epmd_port = free_ports(4)
        self.folder = folder
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def settings(self, **changes: object) -> RabbitSettings:
        return RabbitSettings(**{"port": self.port, **changes})  # type: ignore[arg-type]

    def open(self, configuration: str) -> None:
        (self.folder / "rabbitmq.conf").write_text(configuration.format(port=self.port, tls=self.tls_port))
        (self.folder / "enabled_plugins").write_text("[].\n")
        # Started here, or the node would start one that stays behind.
        self._epmd = subprocess.Popen(
            ["epmd", "-address", "127.0.0.1", "-port", str(self._epmd_port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.start()

    def close(self) -> None:
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()

    def start(self) -> None:
        self.begin()
        until = time.monotonic() + PATIENCE_S
        while not self.answers():
            if time.monotonic() > until or self._server is None or self._server.poll() is not None:
                raise TimeoutError(f"RabbitMQ did not start: {(self.folder / 'output').read_text()[-2000:]}")
            time.sleep(0.1)

    def begin(self) -> None:
        """Starts it and does not wait until it answers."""
        with (self.folder / "output").open("ab") as output:
            self._server = subprocess.Popen(
                [str(BIN / "rabbitmq-server")],
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        """With SIGKILL, and all that it started."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._server = None

    def answers(self) -> bool:
        with closing(socket.socket()) as connection:
            connection.settimeout(10.0)
            try:
                connection.connect(("127.0.0.1", self.port))
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(connection.recv(1))
            except OSError:
                return False

    def control(self, *arguments: str) -> str:
        """`rabbitmqctl`."""
        command = [str(BIN / "rabbitmqctl"), "--quiet", *arguments]
        return subprocess.run(command, env=self._environment(), check=True, capture_output=True, text=True).stdout

    def _environment(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            **os.environ,
            "HOME": folder,  # of the cookie
            "RABBITMQ_NODENAME": f"ion{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
        }


def needs(there: object, package: str) -> None:
    if not there:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"this needs Debian's {package}: apt-get install {package}"
        )


def opened(folder: Path, configuration: str = CONFIGURATION) -> Broker:
    """A node that runs; the caller closes it. Without the server's package the tests are skipped, in CI they fail."""
    needs((BIN / "rabbitmq-server").exists() and shutil.which("epmd"), "rabbitmq-server")
    broker = Broker(folder)
    try:
        broker.open(configuration)
    except BaseException:
        broker.close()
        raise
    return broker

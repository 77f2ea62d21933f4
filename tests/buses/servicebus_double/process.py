"""The double as its own process, for tests: started, told, killed and started again on the same port and journal."""

import subprocess
import sys
from pathlib import Path

import trustme
from tests.buses.servicebus_double.access import KEYS
from tests.ports import free_port

REPOSITORY = Path(__file__).parents[3]


class Double:
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.ca_file = folder / "ca.pem"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")

    def connection_string(self, policy: str = "root", port: int = 0) -> str:
        """`port`: that of a proxy before it."""
        return (
            f"Endpoint=sb://127.0.0.1:{port or self.port};SharedAccessKeyName={policy};"
            f"SharedAccessKey={KEYS[policy]};UseDevelopmentEmulator=true;"
        )

    def start(self) -> None:
        program = [sys.executable, "-m", "tests.buses.servicebus_double", str(self.port), str(self._folder)]
        self._process = subprocess.Popen(
            program, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.port = int(self._line().removeprefix("serving "))

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def tell(self, command: str) -> None:
        """Returns once it is so."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        assert self._line() == "done"

    def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()

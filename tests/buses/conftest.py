"""One server of each kind for the tests of a run; those that kill it have one of their own."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.buses.rabbit import CONFIGURATION, TLS, Broker, needs, opened
from tests.buses.servicebus_double.process import Double


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ca.pem`, and of the broker and of a client a `.pem` and a `.key`."""
    needs(shutil.which("openssl"), "openssl")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    for name in ("server", "client"):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
    return folder


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[Broker]:
    broker = opened(tmp_path_factory.mktemp("rabbitmq"), CONFIGURATION + TLS.format(folder=certificates, port="{tls}"))
    yield broker
    broker.close()


@pytest.fixture(scope="session")
def servicebus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    double = Double(tmp_path_factory.mktemp("servicebus"))
    double.start()
    yield double
    double.kill()

"""The servers of the trial: what the chart tells them is understood by the real programs, and lets Ion in."""

import asyncio
import base64
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store
from tests.buses.nats_server import program as nats_server
from tests.deploy.chart import Document, pods, render, values_of
from tests.ports import free_port, free_ports
from tests.stores.seaweed import _program as weed

from ion.adapters.bus.nats import NatsBus
from ion.adapters.bus.nats_settings import NatsSettings
from ion.errors import UnavailableError

WITHIN_S = 300.0


@pytest.fixture(scope="module")
def made() -> dict[tuple[str, str], Document]:
    return render(values_of("trial"))


def secret(made: dict[tuple[str, str], Document], key: str) -> str:
    return base64.b64decode(made["Secret", "ion"]["data"][key]).decode()


@contextmanager
def running(*words: str, folder: Path, **environ: str) -> Iterator["subprocess.Popen[bytes]"]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, cwd=folder, env=os.environ | environ, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


async def test_nats_lets_in_who_has_the_token(made: dict[tuple[str, str], Document], tmp_path: Path) -> None:
    """And nobody else; what it takes is kept."""
    port, token = free_port(), secret(made, "ION_BUS_TOKEN")
    text: str = made["ConfigMap", "ion-nats"]["data"]["nats.conf"]
    assert "0.0.0.0:4222" in text
    (tmp_path / "nats.conf").write_text(text.replace("0.0.0.0:4222", f"127.0.0.1:{port}").replace("/data", "disk"))
    assert pods(made)["ion-nats"]["containers"][0]["args"] == ["--config", "/etc/nats/nats.conf"]
    with running(nats_server(), "--config", "nats.conf", folder=tmp_path, ION_BUS_TOKEN=token):
        await asyncio.to_thread(listening, port)
        url = f"nats://127.0.0.1:{port}"
        async with NatsBus(NatsSettings(servers=(url,), token=token, timeout_s=WITHIN_S)) as bus:
            await bus.ensure(["photo"], ["detect"])
        with pytest.raises(UnavailableError, match="Authorization Violation"):
            async with NatsBus(NatsSettings(servers=(url,), token="wrong")) as bus:
                await bus.ensure(["photo"], ["detect"])


def listening(port: int) -> None:
    until = time.monotonic() + WITHIN_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), WITHIN_S).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def test_seaweedfs_has_the_bucket_and_knows_the_key(made: dict[tuple[str, str], Document], tmp_path: Path) -> None:
    """With the arguments of its pod, but for folders and ports; the bucket is made as after its start."""
    container = pods(made)["ion-seaweedfs"]["containers"][0]
    (tmp_path / "s3.json").write_text(made["Secret", "ion-seaweedfs"]["stringData"]["s3.json"])
    (tmp_path / "data").mkdir()
    *own, s3 = free_ports(8)
    replaced = {"-dir=/data": "-dir=data", "-s3.config=/etc/s3/s3.json": "-s3.config=s3.json",
                "-ip.bind=0.0.0.0": "-ip.bind=127.0.0.1", "-s3.port=8333": f"-s3.port={s3}"}  # fmt: skip
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
             "s3.port.grpc")  # fmt: skip
    ports = [f"-{name}={port}" for name, port in zip(names, own, strict=True)]
    sockets = [f"-{name}.localSocket={tmp_path}/{name}.sock" for name in ("filer", "s3")]
    args = [replaced.get(arg, arg) for arg in container["args"]]
    assert len(set(args) & set(container["args"])) == len(args) - len(replaced)
    script = container["lifecycle"]["postStart"]["exec"]["command"][2]
    script = script.replace("weed shell", f"{weed()} shell").replace("127.0.0.1:9333", f"127.0.0.1:{own[0]}.{own[1]}")
    with running(weed(), *args, *ports, *sockets, "-s3.port.iceberg=0", "-s3.port.lance=0", folder=tmp_path):
        subprocess.run(["sh", "-c", script], check=True, timeout=WITHIN_S, capture_output=True, cwd=tmp_path)
        store = S3Store(
            "ion", region="us-east-1", endpoint=f"http://127.0.0.1:{s3}", access_key_id="ion",
            secret_access_key=secret(made, "ION_BLOBS_SECRET_ACCESS_KEY"), client_options={"allow_http": True},
        )  # fmt: skip
        put(store)
        assert [one["path"] for one in obstore.list(store).collect()] == ["cat.txt"]


def put(store: S3Store) -> None:
    """It takes buckets before it can store in them."""
    until = time.monotonic() + WITHIN_S
    while True:
        try:
            obstore.put(store, "cat.txt", b"miaow")
        except (OSError, obstore.exceptions.BaseError):
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return

"""The media example on a real cluster, through NATS, PostgreSQL and S3: from a link to a tree of pictures."""

import functools
import http.server
import json
import re
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.acceptance.conftest import Pipeline
from tests.batch_double.images import loaded
from tests.batch_double.place import double, task_images
from tests.batch_double.service import BatchDouble
from tests.batch_double.signature import ACCOUNT, KEY
from tests.cluster.images import media_image
from tests.cluster.ion_platform import MEDIA, Platform, media, pipeline, platform

from ion.model.job import Job, State
from ion.model.manifest import Manifest

__all__ = ["double", "pipeline", "platform", "task_images"]

CLIP = "bikes.mp4"
MODULES = ("downloader", "transcode", "frames", "faces")
FEW = {"EVERY_S": "4", "MAX_FRAMES": "3", "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
HERE = f"{{provider: local, runtime: process, workdir: {MEDIA}}}"
MIXED = f"modules: {{downloader: {HERE}, transcode: {HERE}, colours: {HERE}}}"


@pytest.fixture
def clip() -> Iterator[str]:
    """The link to a video on this machine."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(MEDIA / "clips"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{CLIP}"
        server.shutdown()


def served(pipeline: Pipeline) -> str:
    """The address of the front API that `ion up` serves."""
    output = pipeline.folder / "output"
    said: list[str] = []

    def told() -> bool:
        said[:] = re.findall(r"front API: (http://\S+)", output.read_text())
        return bool(said)

    pipeline.until(told)
    return said[0]


def raised(front: str, url: str) -> str:
    """A link in, as `curl -d` sends it; the correlation id of its flow."""
    answer = httpx.post(front, json={"url": url}, timeout=120.0)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["context"]["correlationId"])


def flowed(pipeline: Pipeline, front: str, url: str) -> list[dict[str, Any]]:
    """What is recorded of a flow that has come to its end."""
    flow = raised(front, url)
    pipeline.ion("flow", "wait", flow, "--timeout", "4m")
    records: list[dict[str, Any]] = json.loads(pipeline.ion("trace", "flow", "-c", flow))
    return records


def manifest(job: Job) -> Manifest:
    assert job.manifest is not None
    return msgspec.json.decode(job.manifest.inline, type=Manifest)


def check(pipeline: Pipeline, records: list[dict[str, Any]]) -> None:
    """Each module did its part, once; every result is where the ledger says."""
    jobs = pipeline.jobs()
    assert {job.state for job in jobs} == {State.RELEASED}
    assert {job.attempt for job in jobs} == {1}
    counts = Counter(job.module for job in jobs)
    assert (counts["downloader"], counts["transcode"], counts["frames"], counts["faces"]) == (1, 1, 1, 3)
    kinds = Counter(record["context"]["documentType"] for record in records)
    assert kinds["modulelogs"] == len(jobs) - 1  # all but what the front API did
    assert {r["context"]["name"] for r in records} == {"frontapi", *counts}
    assert pipeline.audit() == []


def test_a_link_becomes_a_tree_of_pictures_on_a_cluster(platform: Platform, pipeline: Pipeline, clip: str) -> None:
    """Every module in a pod of its own, from the images; followed by the command of the original."""
    pipeline.write(media(platform))
    pipeline.start("up", env=FEW)
    check(pipeline, flowed(pipeline, served(pipeline), clip))
    pipeline.until(lambda: platform.kubectl("get", "jobs", "-o", "name") == "")


def test_modules_here_and_on_a_cluster_are_one_flow(platform: Platform, pipeline: Pipeline, clip: str) -> None:
    """What suits this machine runs here, the rest in pods; `ion flow show` is one view of it."""
    pipeline.write(media(platform, MIXED))
    pipeline.start("up", env=FEW)
    records = flowed(pipeline, served(pipeline), clip)
    check(pipeline, records)
    shown = pipeline.ion("flow", "show", records[0]["context"]["correlationId"])
    assert {word for word in shown.split() if word in MODULES} == set(MODULES)
    hosts = {job.module: manifest(job).host for job in pipeline.jobs()}
    assert hosts["frames"] == hosts["faces"] == platform.kubectl("get", "nodes", "-o", "name").strip().split("/")[1]
    assert hosts["downloader"] == hosts["transcode"] == hosts["colours"] == socket.gethostname()


def test_modules_here_on_a_cluster_and_on_azure_batch_are_one_flow(
    platform: Platform,
    pipeline: Pipeline,
    clip: str,
    double: BatchDouble,
    *,
    task_images: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Batch is the local service that speaks its API and runs the tasks."""
    handler, _ = task_images
    monkeypatch.setenv("ION_AZUREBATCH_KEY", KEY)
    batch = (
        f'azurebatch: {{url: "{double.url}", account: {ACCOUNT}, pool: ion, handlerImage: "{handler}", poll: 300ms}}'
    )
    faces = f'{{provider: azurebatch, image: "{loaded(media_image()[1])}"}}'
    pipeline.write(media(platform, f"{batch}\nmodules: {{downloader: {HERE}, colours: {HERE}, faces: {faces}}}"))
    pipeline.start("up", env=FEW)
    records = flowed(pipeline, served(pipeline), clip)
    check(pipeline, records)
    hosts = {job.module: manifest(job).host for job in pipeline.jobs()}
    node = platform.kubectl("get", "nodes", "-o", "name").strip().split("/")[1]
    assert hosts["transcode"] == hosts["frames"] == node
    assert hosts["faces"].startswith("tvmps_")
    assert hosts["downloader"] == hosts["colours"] == socket.gethostname()
    shown = pipeline.ion("flow", "show", records[0]["context"]["correlationId"])
    assert {word for word in shown.split() if word in MODULES} == set(MODULES)

"""Azure Monitor's own exporter, against a service of the tests' own that speaks as much of its ingestion as it calls.

Azure itself was never tried.
"""

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.cli.programs import Folder, keeps, raises, shell

SPANS = ("RequestData", "RemoteDependencyData")
KEY = "11111111-2222-3333-4444-555555555555"


class Ingestion:
    """Takes `POST /v2.1/track`, lines of JSON or one array, and keeps the envelopes."""

    def __init__(self) -> None:
        self.envelopes: list[dict[str, Any]] = []
        self.endpoint = ""

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The base data of one kind of envelope."""
        return [one["data"]["baseData"] for one in self.envelopes if one["data"]["baseType"] == kind]


@pytest.fixture
def ingestion() -> Iterator[Ingestion]:
    ours = Ingestion()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v2.1/track"
            came = json.loads(body)
            ours.envelopes += came
            answer = json.dumps({"itemsReceived": len(came), "itemsAccepted": len(came), "errors": []}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    ours.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    yield ours
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def here(tmp_path: Any) -> Iterator[Folder]:
    with Folder(tmp_path) as folder:
        yield folder


def test_a_flow_arrives_as_requests_of_one_operation(here: Folder, ingestion: Ingestion) -> None:
    """With its steps as dependencies, its metrics and its log lines; each export adds what is new."""
    here.pipeline(
        {"cut": shell(keeps("a.txt") + raises("face"), on="clip", emits="face"), "detect": shell("exit 3", on="face")}
    )
    connection = f"InstrumentationKey={KEY};IngestionEndpoint={ingestion.endpoint}"
    env = {"APPLICATIONINSIGHTS_CONNECTION_STRING": connection}
    ended = here.run("--event", "clip", "--verbose", code=1, env=env)
    assert "ion.telemetry" not in ended.err
    jobs = {job.module: job for job in here.jobs()}
    trace, span = jobs["cut"].event.traceparent.split("-")[1], jobs["cut"].id.replace("-", "")[:16]
    spans = [one for one in ingestion.envelopes if one["data"]["baseType"] in SPANS]
    assert {one["tags"]["ai.operation.id"] for one in spans} == {trace}
    assert {one["iKey"] for one in ingestion.envelopes} == {KEY}
    requests = {one["name"]: one for one in ingestion.of("RequestData")}
    assert requests["process clip"]["id"] == span
    assert (requests["process clip"]["success"], requests["process face"]["success"]) == (True, False)
    parents = {one["data"]["baseData"]["name"]: one["tags"].get("ai.operation.parentId") for one in spans}
    assert parents["process face"] == span
    assert {"wait", "prepare", "module cut", "commit", "release"} <= {
        one["name"] for one in ingestion.of("RemoteDependencyData")
    }
    metrics = {one["metrics"][0]["name"]: one["metrics"][0] for one in ingestion.of("MetricData")}
    assert metrics["ion.step.duration"]["count"] >= 1
    assert any("attempt 1 of cut is committed" in one["message"] for one in ingestion.of("MessageData"))


def test_azure_that_is_away_costs_one_warning(here: Folder, ingestion: Ingestion) -> None:
    """And nothing is kept on disk for it."""
    here.pipeline({"cut": shell("true", on="clip")})
    connection = f"InstrumentationKey={KEY};IngestionEndpoint=http://127.0.0.1:9"
    ended = here.run("--event", "clip", env={"APPLICATIONINSIGHTS_CONNECTION_STRING": connection})
    assert len([line for line in ended.err.splitlines() if "ion.telemetry" in line]) == 1, ended.err
    assert KEY not in ended.err

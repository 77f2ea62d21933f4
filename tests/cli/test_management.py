"""`ion management start` and the API of `ion up`: real processes, which real clients talk to."""

import asyncio
import json
import re
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.cli.programs import PATIENCE_S, WAITS, Folder, Program, keeps, shell, until

from ion.dispatcher.stores import Stores
from ion.errors import DeniedError
from ion.management.rpc.remote import open_remote
from ion.management.verbs import Management
from ion.model.job import State
from ion.ports.ledger import JobFilter

T = TypeVar("T")

PHOTO = {"files": {"file": ("cat.jpg", b"a cat")}}
DETECT = {"detect": shell("true", on="photo")}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Folder]:
    """A folder to run commands in."""
    with Folder(tmp_path) as folder:
        yield folder


def told(program: Program, pattern: str) -> str:
    """What a program says, on either stream, once it does."""
    until(lambda: re.search(pattern, program.out + program.err, re.MULTILINE) is not None)
    found = re.search(pattern, program.out + program.err, re.MULTILINE)
    assert found is not None
    return found[1]


def ask(port: str, verb: Callable[[Management], Awaitable[T]], **files: str) -> T:
    async def work() -> T:
        async with open_remote(f"localhost:{port}", timeout_s=PATIENCE_S, **files) as management:
            return await verb(management)

    return asyncio.run(work())


def files_of(here: Folder, name: str) -> dict[str, str]:
    folder = here.apart / ".ion/certs"
    return {
        "certfile": f"{folder}/clients/{name}.pem",
        "keyfile": f"{folder}/clients/{name}.key",
        "cacertfile": f"{folder}/ca.pem",
    }


def figures(url: str) -> dict[tuple[str, ...], float]:
    """The page for Prometheus, by name and labels, as its own parser reads it."""
    families = text_string_to_metric_families(httpx.get(url, timeout=PATIENCE_S).raise_for_status().text)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


# ---- ion management start ---------------------------------------------------------------------------------------


def test_certificates_of_ours_work_with_a_server_of_ours(here: Folder) -> None:
    """From nothing: an authority, a client, a server, a call; revoked, the next call is refused."""
    here.pipeline(DETECT)
    here.run("--event", "photo", "--file", str(here.write("cat.jpg")))
    here.ion("certs", "init")
    here.ion("certs", "client", "--name", "alice", "--role", "operator")
    folder = here.apart / ".ion/certs"
    tls = (
        "--certfile",
        f"{folder}/server.pem",
        "--keyfile",
        f"{folder}/server.key",
        "--cacertfile",
        f"{folder}/ca.pem",
    )
    server = here.start("management", "start", "--host", "127.0.0.1", "--port", "0", "--metrics-port", "off", *tls)
    port = told(server, r"^management API: 127\.0\.0\.1:(\d+) \(TLS\)$")
    files = files_of(here, "alice")
    assert ask(port, lambda m: m.server.info(), **files).actor == "alice"
    assert ask(port, lambda m: m.jobs.latest(which=JobFilter(module="detect")), **files).total == 1
    with pytest.raises(DeniedError, match="this needs the role admin"):
        ask(port, lambda m: m.modules.delete(name="detect"), **files)
    here.ion("certs", "revoke", "alice")
    with pytest.raises(DeniedError, match="is revoked"):
        ask(port, lambda m: m.server.info(), **files)
    server.signal(signal.SIGTERM)
    assert "stopping" in server.wait().err


def test_without_tls_it_binds_loopback_only_and_says_so(here: Folder) -> None:
    """And refuses any other address with what to do about it."""
    here.pipeline(DETECT)
    here.run("--event", "photo")
    refused = here.ion("management", "start", "--host", "0.0.0.0", "--port", "0", code=2)
    assert "without TLS the management API would be open to anyone on 0.0.0.0" in refused.said
    assert "`ion certs init`" in refused.said
    server = here.start("management", "start", "--port", "0", "--metrics-port", "0")
    port = told(server, r"^management API: 127\.0\.0\.1:(\d+) \(without TLS, for this user of this host only\)$")
    assert ask(port, lambda m: m.modules.get(name="detect")).registered.module.name == "detect"
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", int(port)))
    server.signal(signal.SIGINT)
    server.wait()


def test_half_of_what_tls_needs_is_refused(here: Folder) -> None:
    """What is missing is named: a server that took no certificates would be worse than none."""
    here.pipeline(DETECT)
    here.run("--event", "photo")
    refused = here.ion("management", "start", "--certfile", "server.pem", code=2)
    assert refused.said == "TLS needs certificate, key and ca together, and key, ca is not given: add it"


def test_a_taken_port_is_one_sentence(here: Folder) -> None:
    """With exit code 1: it may be free later."""
    here.pipeline(DETECT)
    here.run("--event", "photo")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = here.ion("management", "start", "--port", port, "--metrics-port", "off", code=1)
        assert ended.said.startswith(f"the management API cannot listen on 127.0.0.1:{port}")
        ended = here.ion("management", "start", "--port", "0", "--metrics-port", port, code=1)
        assert ended.said.startswith(f"the page for Prometheus cannot listen on 127.0.0.1:{port}")


def test_without_a_store_there_is_nothing_to_serve(here: Folder) -> None:
    """A look makes none."""
    assert here.ion("management", "start", code=2).said.startswith("there is no store to serve: name one by --store")


def test_settings_of_a_pipeline_file_hold(here: Folder) -> None:
    """Its roles, its certificates and its ports."""
    here.ion("certs", "init", "--folder", "certs")
    here.ion("certs", "client", "--folder", "certs", "--name", "alice", "--role", "admin")
    served = {"certificate": "certs/server.pem", "key": "certs/server.key", "ca": "certs/ca.pem", "port": 0}
    roles = [{"subject": "CN=alice", "role": "viewer"}]
    here.pipeline(DETECT, management={**served, "roles": roles, "host": "127.0.0.1", "metrics_port": "off"})
    server = here.start("management", "start")
    port = told(server, r"^management API: 127\.0\.0\.1:(\d+) \(TLS\)$")
    folder = here.path / "certs"
    files = {"certfile": f"{folder}/clients/alice.pem", "keyfile": f"{folder}/clients/alice.key"}
    info = ask(port, lambda m: m.server.info(), cacertfile=f"{folder}/ca.pem", **files)
    assert (info.actor, info.role) == ("alice", "viewer")


def test_it_collects_what_retention_no_longer_keeps(here: Folder) -> None:
    """Where dispatchers are started by `ion dispatcher start`, nobody else does."""
    here.pipeline(DETECT, retention=dict.fromkeys(("intermediates", "results", "failed", "logs"), "1ms"))
    here.ion("run", "--event", "photo")
    here.start("management", "start", "--port", "0", "--metrics-port", "off")

    async def states(stores: Stores) -> set[State]:
        return {job.state for job in (await stores.ledger.query(JobFilter(module="detect"))).jobs}

    until(lambda: here.do(states) == {State.EXPIRED})


def test_dispatchers_in_a_cluster_need_stores_that_they_reach(here: Folder) -> None:
    """A file of this host is none; that is refused before anything is served."""
    here.pipeline(DETECT, kubernetes={"dispatchers": {"configMap": "ion"}})
    refused = here.ion("management", "start", "--port", "0", "--metrics-port", "off", code=2)
    assert refused.said.startswith(
        "dispatchers in a cluster cannot reach the ledger in files of this host: set `ledger`"
    )


# ---- in ion up --------------------------------------------------------------------------------------------------


def test_a_pipeline_that_is_served_can_be_managed(here: Folder) -> None:
    """By the API beside the front API, without a word of configuration; a stop ends it all."""
    here.pipeline({"detect": shell(WAITS, on="photo")})
    up = here.up("--management-port", "0")
    port = told(up.program, r"^management API: 127\.0\.0\.1:(\d+) \(without TLS")
    up.post("/events/photo", **PHOTO)
    until(lambda: len(here.begun()) == 1)
    (job,) = ask(port, lambda m: m.jobs.latest(which=JobFilter(module="detect"))).jobs
    ask(port, lambda m: m.jobs.cancel(jobs=(job.id,)))
    until(lambda: here.jobs("detect")[0].state is State.CANCELLED)
    up.program.signal(signal.SIGTERM)
    up.program.wait()


def test_taken_ports_do_not_stop_it_unless_they_were_asked_for(here: Folder) -> None:
    """Settings may be those of another one that runs already; an option is meant."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        here.pipeline(DETECT, management={"port": port, "metrics_port": port})
        none = {"ION_MANAGEMENT_PORT": "", "ION_METRICS_PORT": ""}
        up = here.up(env=none)
        told(up.program, r"^(management API): not served: the management API cannot listen on")
        told(up.program, r"^(metrics): not served: the page for Prometheus cannot listen on")
        assert up.post("/events/photo", **PHOTO).status_code == 200
        up.program.signal(signal.SIGTERM)
        up.program.wait()
        for option in ("--management-port", "--metrics-port"):
            ended = here.ion("up", "--port", "0", option, str(port), code=1)
            assert f"cannot listen on 127.0.0.1:{port}" in ended.said


def test_without_the_packages_it_goes_on_and_says_so(here: Folder) -> None:
    """Whoever only runs pipelines need not have gRPC; `ion management start` names what to install."""
    (here.apart / "sitecustomize.py").write_text("import sys\nsys.modules['grpc'] = None\n")
    here.pipeline(DETECT)
    lacking = {"PYTHONPATH": f"{here.apart}:{Path('src').absolute()}"}
    up = here.up("--management-port", "0", env=lacking)
    assert "management API: not served; it needs packages that are not here: ion-events[management]" in up.program.err
    assert up.post("/events/photo", **PHOTO).status_code == 200
    refused = here.ion("management", "start", code=2, env=lacking)
    assert refused.said == "this needs packages that are not here: install ion-events[management]"


def test_the_page_for_prometheus_follows_a_flow(here: Folder) -> None:
    """A job that waits and runs, one that fails, what came and went in bytes, and the calls of the API."""
    broken = shell(keeps("x") + "exit 3", on="photo", retries={"module": 1, "backoff": "1ms"})
    here.pipeline(
        {"detect": shell(WAITS + 'cp "$ION_DIR"/in/data/* "$ION_DIR"/out/data', on="photo"), "broken": broken}
    )
    up = here.up("--management-port", "0", "--metrics-port", "0")
    port = told(up.program, r"^management API: 127\.0\.0\.1:(\d+) ")
    url = told(up.program, r"^metrics: (http://127\.0\.0\.1:\d+/metrics)$")
    assert figures(url)["ion_jobs", "detect", "running"] == 0
    up.post("/events/photo", **PHOTO)
    until(lambda: len(here.begun()) == 1 and figures(url)["ion_jobs", "broken", "dead"] == 1)
    ask(port, lambda m: m.server.info())
    with pytest.raises(Exception, match="there is no module 'detcet'"):
        ask(port, lambda m: m.modules.get(name="detcet"))
    now = figures(url)
    assert now["ion_jobs", "detect", "running"] == 1
    assert now["ion_dispatchers",] == 1
    assert now["ion_module_standing", "detect", "ready"] == 1
    assert now["ion_attempts_total", "broken", "failed"] == 1
    assert now["ion_attempts_total", "broken", "dead"] == 1
    assert now["ion_failures_total", "module", "broken"] == 2
    assert now["ion_grpc_requests_total", "OK", "ion.v1.Server/Info"] == 1
    assert now["ion_grpc_requests_total", "NOT_FOUND", "ion.v1.Modules/Get"] == 1
    assert now["ion_grpc_request_seconds_count", "ion.v1.Server/Info"] == 1
    here.go()
    until(lambda: figures(url).get(("ion_attempts_total", "detect", "committed")) == 1)
    now = figures(url)
    assert now["ion_attempt_seconds_count", "detect"] == 1
    assert (now["ion_transfer_bytes_total", "in"], now["ion_transfer_bytes_total", "out"]) == (15, 5)
    assert httpx.get(url.removesuffix("metrics"), timeout=PATIENCE_S).status_code == 404


def test_what_a_pipeline_file_changes_is_in_the_trail(here: Folder) -> None:
    """The modules that changed or went, by whoever started it; a second start changes nothing."""
    here.pipeline(DETECT)
    here.run("--event", "photo")
    here.run("--event", "photo")

    async def trail(stores: Stores) -> list[tuple[str, str, str]]:
        return [(entry.verb, entry.about, entry.peer) async for entry in stores.ledger.trail(None, 10)]

    assert here.do(trail) == [("modules.apply", "modules=detect", "here")]


def test_the_trail_can_be_read(here: Folder) -> None:
    """On the store, and by the API; a table for people, an array for scripts."""
    here.pipeline({"detect": shell(WAITS, on="photo")})
    up = here.up("--management-port", "0")
    port = told(up.program, r"^management API: 127\.0\.0\.1:(\d+) ")
    up.post("/events/photo", **PHOTO)
    until(lambda: len(here.begun()) == 1)
    (job,) = here.jobs("detect")
    here.ion("job", "retry", job.id, code=2)
    here.ion("job", "cancel", job.id, "--endpoint", f"localhost:{port}")
    applied, refused, cancelled = json.loads(here.ion("management", "trail", "--json").out)
    assert [one["verb"] for one in (applied, refused, cancelled)] == ["modules.apply", "jobs.retry", "jobs.cancel"]
    assert "can be retried" in refused["outcome"]
    assert (cancelled["about"], "outcome" in cancelled) == (f"jobs={job.id}", False)
    lines = here.ion("management", "trail", "--since", "1d", "--most", "1", "--endpoint", f"localhost:{port}").out
    assert [line.split()[-1] for line in lines.splitlines()] == ["ABOUT", f"jobs={job.id}"]

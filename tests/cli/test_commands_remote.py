"""Every command that asks something of an Ion, asked of a real server over mutual TLS and of a copy of its store."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.cli.programs import Folder
from tests.cli.remote import Remote, invoke

from ion.model.event import Event
from ion.model.role import Role

if TYPE_CHECKING:
    from tests.cli.conftest import Bench

QUIET = (("audit",), ("module", "logs", "detect"))
"""Nothing is amiss, and the job of `detect` that came last has not run."""


@pytest.fixture
def served(bench: "Bench", flow: Event, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """A server on a store with a flow that has ended and one, `album-3`, whose job waits."""
    del flow
    bench.photo("album-3")
    with Folder(tmp_path_factory.mktemp("remote")) as place:
        yield Remote(bench.store, place)


def ids(served: Remote, module: str) -> str:
    (job,) = json.loads(served.ion("job", "list", "-n", module, "-s", "released", "-s", "dead", "--json").stdout)
    return str(job["id"])


def test_what_is_looked_at_reads_the_same(served: Remote, flow: Event) -> None:
    """A command prints of a remote Ion what it prints of the store, byte for byte, for people and for scripts."""
    detect, count, whole = ids(served, "detect"), ids(served, "count"), flow.correlation_id
    for command in (
        ("job", "list"),
        ("job", "list", "--json", "--limit", "2"),
        ("job", "list", "--all"),
        ("job", "list", "--all", "-n", "count", "-c", whole[:6]),
        ("job", "show", detect),
        ("job", "show", "--json", detect[:9]),
        ("job", "logs", detect),
        ("job", "logs", "-f", count),
        ("job", "files", detect),
        ("job", "files", "--json", detect),
        ("dlq", "list"),
        ("dlq", "list", "--class", "module", "--since", "1h", "-c", whole[:6], "--json"),
        ("dlq", "show", count),
        ("flow", "list"),
        ("flow", "list", "--json"),
        ("flow", "show", whole[:6]),
        ("flow", "show", "--json", "album"),
        ("flow", "wait", whole),
        ("trace", "flow", "-c", whole),
        ("trace", "flow", "-c", whole, "--tree"),
        ("trace", "flow", "-c", whole, "--mermaid"),
        ("bus", "depth"),
        ("bus", "depth", "--json"),
        ("find", "--subject", "cat*"),
        ("find", "--insight", "faces=2", "--json"),
        ("job", "why", count),
        ("job", "why", "--json", count),
        ("insights", "export"),
        ("insights", "export", "--format", "jsonl", "-n", "detect"),
        ("module", "list"),
        ("module", "list", "--json"),
        ("module", "history", "detect"),
        ("module", "get", "-n", "detect"),
        ("module", "logs", "detect"),
        ("audit",),
        ("audit", "--json"),
        ("du",),
        ("du", "--by", "kind"),
        ("du", "--by", "flow", "--json"),
        ("gc", "--dry-run"),
        ("rerun", detect, "--dry-run"),
        ("dlq", "redrive", "--all", "--dry-run"),
        ("bus", "replay", "--since", "1h", "--dry-run"),
    ):
        assert served.same(*command).stdout or command in QUIET, command


def test_what_is_refused_is_refused_the_same(served: Remote, flow: Event) -> None:
    """Exit codes and sentences do not depend on where the Ion is."""
    count = ids(served, "count")
    for command in (
        ("job", "show", "zzz"),
        ("job", "retry", ids(served, "detect")),
        ("job", "cancel", count),
        ("job", "logs", ""),
        ("flow", "pause", "zzz"),
        ("flow", "prioritise", "album-3", "5000"),
        ("dlq", "redrive"),
        ("dlq", "redrive", count, "--all"),
        ("rerun",),
        ("event", "create", "--event-type", "foto"),
        ("event", "create", "--event-type", "photo", "--file", "/gone.jpg"),
        ("event", "peek", "--event-type", "photo", "--sub-name", "me", "--timeout", "10ms"),
        ("bus", "replay", "--since", "1h", "--module", "nobody"),
        ("trace", "flow", "-c", "zzz"),
    ):
        refused = served.same(*command)
        assert (refused.exit_code, "Error: " in refused.stderr) == (2, True), command


def test_what_is_changed_is_changed_the_same(served: Remote, flow: Event, tmp_path: Path) -> None:
    """Changes are done by the server, and told as if they were done here."""
    picture = tmp_path / "dog.jpg"
    picture.write_bytes(b"a dog" * 100_000)
    detect, count, whole = ids(served, "detect"), ids(served, "count"), flow.correlation_id
    named = ("--event-id", "7", "--correlation-id", "album-4")
    for command in (
        ("event", "create", "--event-type", "photo", "--file", str(picture), "--set", "kind=dog", *named),
        ("event", "create", "--event-type", "photo", *named),
        ("flow", "prioritise", "album-3", "-5"),
        ("flow", "pause", "album-3"),
        ("flow", "show", "album-3"),
        ("flow", "resume", "album-3"),
        ("flow", "cancel", "album-3"),
        ("dlq", "redrive", "-n", "count"),
        ("job", "cancel", count),
        ("job", "retry", count),
        ("rerun", detect),
        ("bus", "replay", "--since", "1h", "--module", "count"),
        ("module", "pause", "detect"),
        ("module", "resume", "detect"),
        ("module", "scale", "detect", "3"),
        ("module", "rollback", "detect"),
        ("module", "delete", "detect"),
        ("gc",),
        ("job", "list", "--all", "-c", "album-3", "-n", "none"),
    ):
        done = served.same(*command)
        assert done.exit_code == 0, (command, done.output)
    (gateways,) = json.loads(served.ion("job", "list", "-c", "album-4", "--json").stdout)
    (file,) = json.loads(served.ion("job", "files", gateways["id"], "--json").stdout)[:1]
    assert (file["path"], file["size"]) == ("dog.jpg", 500_000)
    assert whole != gateways["event"]["correlation_id"]


def test_events_are_taken_from_a_remote_bus(served: Remote) -> None:
    """A subscription made by a peek gets what is published later; what is taken is gone."""
    subscribed = ("--event-type", "face", "--sub-name", "me", "--timeout", "50ms")
    served.ion("event", "peek", *subscribed, code=2)
    served.ion("bus", "replay", "--since", "1h")
    peeked, taken = served.ion("event", "peek", *subscribed), served.ion("event", "get", *subscribed)
    assert json.loads(peeked.stdout) == json.loads(taken.stdout)
    assert json.loads(taken.stdout)["type"] == "face"
    served.ion("event", "get", *subscribed, code=2)


def test_a_job_is_pulled_from_a_remote_ion(served: Remote, tmp_path: Path) -> None:
    """The folder has what the module saw and, if asked, what it left; it is the same as of the store itself."""
    detect = ids(served, "detect")
    there, here = tmp_path / "there", tmp_path / "here"
    assert served.ion("job", "pull", "--outputs", detect, str(there)).stdout == f"{there}\n"
    invoke("--store", str(served.twin), "job", "pull", "--outputs", detect, str(here))
    found = {str(file.relative_to(there)): file.read_bytes() for file in there.rglob("*") if file.is_file()}
    assert found == {str(file.relative_to(here)): file.read_bytes() for file in here.rglob("*") if file.is_file()}
    assert (found["in/data/cat.jpg"], found["out/data/boxed.jpg"]) == (b"a cat", b"a cat in a box")
    assert "exists already" in served.ion("job", "pull", detect, str(there), code=2).stderr


def test_a_remote_flow_is_reported_into_this_folder(
    served: Remote, flow: Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without -o the page comes to where the command was given, and nothing half of it."""
    monkeypatch.chdir(tmp_path)
    name = served.ion("flow", "report", flow.correlation_id[:6]).stdout.strip()
    assert (tmp_path / name).read_text().startswith("<!doctype html>")
    assert [file.name for file in tmp_path.glob("*html*")] == [name]


def test_a_viewer_may_look_and_no_more(served: Remote) -> None:
    """A role that does not allow a change refuses it with exit code 2 and one sentence."""
    viewer = served.client("guest", Role.VIEWER)
    invoke(*viewer, "flow", "list")
    refused = invoke(*viewer, "flow", "cancel", "album-3", code=2)
    assert refused.stderr.count("Error: ") == 1
    assert json.loads(served.ion("flow", "show", "album-3", "--json").stdout)["state"] == "open"


def test_a_client_without_a_certificate_is_refused(served: Remote) -> None:
    """A server that asks for certificates answers nobody else: exit code 1, one sentence."""
    refused = invoke("--endpoint", served.endpoint, "job", "list", code=1)
    assert served.endpoint in refused.stderr.splitlines()[-1]


def test_a_flow_is_awaited_for_longer_than_a_call_may_take(served: Remote) -> None:
    """The time limit of calls is for the server to say that it heard; how long a flow takes is the flow's business."""
    late = invoke("--timeout", "10s", *served.options, "flow", "wait", "album-3", "--timeout", "11s", code=1)
    assert late.stderr == f"ion: {served.endpoint}\nflow album-3 is not quiet after 11s\n"


def test_a_context_reaches_it_as_flags_do(served: Remote, tmp_path: Path) -> None:
    """Endpoint, certificate, key and CA may stand in a context; then its name is all that is said."""
    _, endpoint, _, certificate, _, key, _, ca = served.options
    config = tmp_path / "ioncli.yaml"
    context = {"endpoint": endpoint, "certfile": certificate, "keyfile": key, "cacertfile": ca, "timeout": "60s"}
    config.write_text(f"contexts:\n  lab: {json.dumps(context)}\n")
    chosen = ("--config", str(config), "--context", "lab")
    assert invoke(*chosen, "flow", "list").stdout == served.ion("flow", "list").stdout
    invoke("--config", str(config), "context", "use", "lab")
    assert invoke("--config", str(config), "flow", "list").stdout == served.ion("flow", "list").stdout

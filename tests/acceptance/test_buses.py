"""A pipeline whose bus is a server: it flows, outsiders hear and are heard, and who takes part may die meanwhile."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from tests.acceptance.bus_servers import SERVERS, BusServer
from tests.acceptance.conftest import PATIENCE_S
from tests.buses.nats_server import NatsServer
from tests.buses.nats_tokens import Operator

from ion.model.event import Event
from ion.model.job import State
from ion.ports.bus import Bus
from ion.testing.conformance.bus_harness import made

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

T = TypeVar("T")
OUTSIDE = "outside"
SERVES = "front API: "
TYPES = ["go", "half", "whole"]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BusServer]:
    folder = tmp_path / "server"
    folder.mkdir()
    server = SERVERS[request.param](folder)
    yield server
    server.close()


def on_bus(server: BusServer, work: Callable[[Bus], Awaitable[T]]) -> T:
    """Does something on the same bus as somebody outside of Ion's store."""

    async def run() -> T:
        async with server.bus() as bus:
            return await work(bus)

    return asyncio.run(run())


def listen(server: BusServer) -> None:
    on_bus(server, lambda bus: bus.ensure(TYPES, [OUTSIDE]))


def heard(server: BusServer, count: int) -> list[Event]:
    """The next events of the outside group; one that came more than once is one event."""

    async def work(bus: Bus) -> list[Event]:
        found: dict[str, Event] = {}
        async with bus.subscribe(TYPES, OUTSIDE) as receiver, asyncio.timeout(PATIENCE_S):
            while len(found) < count:
                deliveries = await receiver.receive(100, 1.0)
                found |= {delivery.event.id: delivery.event for delivery in deliveries if delivery.event}
                await receiver.ack(deliveries)
        return list(found.values())

    return on_bus(server, work)


def waiting(server: BusServer) -> int:
    """Deliveries of both modules that are not acknowledged."""

    async def work(bus: Bus) -> int:
        return sum([await bus.depth(module) for module in ("first", "second")])

    return on_bus(server, work)


def write(pipeline: "Pipeline", section: str) -> None:
    pipeline.write(f"""
ion: 1
bus: {{{section}}}
modules:
  first: {{command: [sh, first.sh], on: go, emits: half}}
  second: {{command: [sh, second.sh], on: half, emits: whole}}
""")
    for module, event in (("first", "half"), ("second", "whole")):
        line = f"""echo '{{"type": "{event}"}}' > "$ION_DIR/out/events/a.json"\n"""
        (pipeline.folder / f"{module}.sh").write_text(line)


def serve(pipeline: "Pipeline", server: BusServer) -> Callable[[int], None]:
    """Starts `ion up`, waits until it serves, and gives what ends it by a signal."""
    output = pipeline.folder / "output"
    before = output.read_text().count(SERVES) if output.exists() else 0
    process = pipeline.start("up", "--port", "0", env=dict(server.environ))
    pipeline.until(lambda: output.read_text().count(SERVES) > before)

    def end(number: int) -> None:
        process.send_signal(number)
        process.wait()

    return end


def raise_three(pipeline: "Pipeline") -> None:
    for _ in range(3):
        pipeline.ion("event", "create", "--event-type", "go", "--force")


def test_a_pipeline_flows_over_a_bus(pipeline: "Pipeline", server: BusServer) -> None:
    """An outside group receives every event of the flow, no secret is written down, and the audit finds nothing."""
    write(pipeline, server.section)
    listen(server)
    pipeline.ion("run", "--event", "go", env=dict(server.environ))
    assert [job.module for job in pipeline.jobs()] == ["cli", "first", "second"]
    events = heard(server, 3)
    assert {event.type for event in events} == set(TYPES)
    assert len({event.correlation_id for event in events}) == 1
    assert server.secret not in (pipeline.store / "settings.json").read_text()
    assert pipeline.audit() == []


def test_the_commands_that_look_into_a_bus(pipeline: "Pipeline", server: BusServer) -> None:
    """They find the bus in the store and its secret in the environment: what waits is counted, a subscription's next
    event is shown where the bus can show it, taken, and gone; a replay starts nothing that is known.
    """

    def ion(*arguments: str, code: int = 0, error: bool = False) -> str:
        return pipeline.ion(*arguments, code=code, env=dict(server.override), error=error)

    def depths() -> dict[str, int]:
        return {row["module"]: row["depth"] for row in json.loads(ion("bus", "depth", "--json"))}

    mine = ("--event-type", "whole", "--sub-name", "me")
    patiently = (*mine, "--timeout", f"{PATIENCE_S:g}s")
    write(pipeline, server.section)
    pipeline.ion("run", "--event", "go", env=dict(server.environ))
    ion("event", "get", *mine, "--timeout", "10ms", code=2)
    before = depths()
    events = [made("go"), made("go"), made("whole")]
    on_bus(server, lambda bus: bus.publish(events))
    assert depths() == {"first": before["first"] + 2, "second": before["second"]}
    if server.peeks:
        assert json.loads(ion("event", "peek", *patiently))["id"] == events[2].id
    else:
        assert "take the next one by `ion event get`" in ion("event", "peek", *mine, code=2, error=True)
    assert json.loads(ion("event", "get", *patiently))["id"] == events[2].id
    ion("event", "get", *mine, "--timeout", "10ms", code=2)
    assert ion("bus", "replay", "--since", "1h") == "3 events started 0 new jobs\n"


def test_a_dispatcher_hears_the_bus_over_the_death_of_its_server(pipeline: "Pipeline", server: BusServer) -> None:
    """`ion up` goes on while the server is dead, for whoever raises events in the store; when it is back, everybody
    outside hears of everything, and what outsiders publish is done once.
    """
    write(pipeline, server.section)
    listen(server)
    serve(pipeline, server)
    raise_three(pipeline)
    pipeline.until(lambda: len(pipeline.jobs("second")) == 3)
    pipeline.until(lambda: waiting(server) == 0)  # an acknowledgement that the death meets is told in other words
    server.kill()
    raise_three(pipeline)
    pipeline.until(lambda: len(pipeline.jobs("first")) == 6)
    pipeline.until(lambda: bool(server.news.search((pipeline.folder / "output").read_text())))
    server.start()
    on_bus(server, lambda bus: bus.publish([made("go")]))
    pipeline.until(lambda: len(pipeline.jobs("second")) == 7)
    pipeline.until(lambda: all(job.state is State.RELEASED for job in pipeline.jobs()))
    assert Counter(event.type for event in heard(server, 21)) == {"go": 7, "half": 7, "whole": 7}
    assert Counter(job.module for job in pipeline.jobs()) == {"cli": 6, "first": 7, "second": 7}
    assert pipeline.audit() == []
    assert len(server.news.findall((pipeline.folder / "output").read_text())) == 2


def test_what_a_killed_dispatcher_held_is_done_by_the_next(pipeline: "Pipeline", server: BusServer) -> None:
    """Outsiders publish while `ion up` is killed and started again: each event is done, and once."""
    write(pipeline, server.section)
    events = [made("go") for _ in range(60)]
    end = serve(pipeline, server)
    on_bus(server, lambda bus: bus.publish(events[:30]))
    pipeline.until(lambda: len(pipeline.jobs("first")) > 0)
    end(signal.SIGKILL)
    on_bus(server, lambda bus: bus.publish([*events[30:], *events[:10]]))
    end = serve(pipeline, server)
    pipeline.until(lambda: len(pipeline.jobs("second")) == 60)
    pipeline.until(lambda: all(job.state is State.RELEASED for job in pipeline.jobs()))
    end(signal.SIGTERM)
    assert {job.event.id for job in pipeline.jobs("first")} == {event.id for event in events}
    assert Counter(job.module for job in pipeline.jobs()) == {"first": 60, "second": 60}
    assert pipeline.audit() == []


def test_a_dispatcher_shows_its_credentials_file(pipeline: "Pipeline") -> None:
    """It lies beside the pipeline file; a stranger's, or none, starts nothing and says so."""
    operator = Operator()
    operator.credentials(pipeline.folder / "ion.creds")
    Operator().credentials(pipeline.folder / "other.creds")
    with NatsServer(pipeline.folder / "server", operator.configuration()) as server:
        for credentials in ("", ", credentials: other.creds"):
            write(pipeline, f"kind: nats, servers: {server.url}{credentials}")
            said = pipeline.ion("run", "--event", "go", code=1, error=True)
            assert "Authorization Violation" in said
            assert "correct who `bus` says this is" in said
        write(pipeline, f"kind: nats, servers: {server.url}, credentials: ion.creds")
        pipeline.ion("run", "--event", "go")
    assert [job.module for job in pipeline.jobs()] == ["cli", "first", "second"]

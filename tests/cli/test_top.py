"""`ion top`: one look as plain tables, and a view on a real terminal that is drawn again until it is ended."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from tests.cli.terminal import Terminal

from ion.cli.top import Beats, Rate
from ion.management.flows import FlowState
from ion.model.event import Event
from ion.model.job import State
from ion.ports.ledger import Flow, Owner

if TYPE_CHECKING:
    from tests.cli.conftest import Bench

ON, OFF = "\x1b[?1049h", "\x1b[?1049l"
"""A terminal's other screen."""
CODES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


@pytest.fixture
def terminal(bench: "Bench") -> Iterator[Callable[..., Terminal]]:
    """Starts `ion top` on the store; what is left is killed."""
    started: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        started.append(Terminal("--store", str(bench.store), "top", "--interval", "200ms", *arguments))
        return started[-1]

    yield start
    for one in started:
        one.kill()


def serve(bench: "Bench", *modules: str) -> None:
    owner = Owner(id="0f3c9a11-aa", scope="s", host="gpu-1:boot:ns", pid=4711, modules=modules)
    bench.do(lambda stores: stores.ledger.beat(owner))


def test_one_look_is_plain_tables(bench: "Bench", flow: Event) -> None:
    """Modules with their jobs, dispatchers and the newest failures; nothing that steers a terminal."""
    bench.photo()
    serve(bench, "count")
    (dead,) = bench.jobs("count")
    head, modules, dispatchers, failures = bench.ion("top", "--once").stdout.split("\n\n")
    assert "1 job open  ·  0 unreleased  ·  1 dead  ·  1 dispatcher" in head
    header, count, detect = modules.splitlines()
    assert header.split() == ["MODULE", "WAITING", "RUNNING", "COMMITTED", "DEAD", "OLDEST", "SERVED", "STANDING"]
    assert count.split() == ["count", "0", "0", "0", "1", "-", "1", "ready"]
    assert (detect.split()[:5], detect.split()[-2:]) == (["detect", "1", "0", "0", "0"], ["0", "unserved"])
    assert dispatchers.splitlines()[1].split() == ["0f3c9a11", "gpu-1", "4711", "beats", "count"]
    assert failures.splitlines()[1].split()[2:] == ["count", dead.id[:8], "module:", "exit", "code", "3"]


def test_without_a_terminal_it_is_one_look(bench: "Bench") -> None:
    """A pipe gets what --once prints; tables without rows are left out."""
    out = bench.ion("top").stdout
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["MODULE", "count", "detect"]


def test_an_interval_that_is_too_short_is_refused(bench: "Bench") -> None:
    """It would keep a server busy with looking at itself."""
    assert "--interval must be at least 0.2 s" in bench.ion("top", "--interval", "10ms", code=2).stderr
    assert "--interval must be" in bench.ion("top", "--interval", "soon", code=2).stderr


def test_a_terminal_is_drawn_until_q(bench: "Bench", terminal: Callable[..., Terminal]) -> None:
    """What happens meanwhile is seen, without the screen being wiped; q gives the terminal back."""
    view = terminal()
    view.until(lambda text: "q ends" in text and "0 jobs open" in text)
    bench.photo()
    bench.fail("detect", "no such cat")
    view.until(lambda text: "1 dead" in text and "no such cat" in text and "jobs/s" in text)
    view.type(b"x")
    view.type(b"q")
    assert view.ended() == 0
    drawn = view.text[view.text.index(ON) : view.text.index(OFF)]
    assert "\x1b[2J" not in drawn
    assert CODES.sub("", view.text.rpartition(OFF)[2]).strip() == ""


def test_an_interrupt_ends_it_well(bench: "Bench", terminal: Callable[..., Terminal]) -> None:
    """Ctrl-C is how one leaves: the terminal is given back, and it is no failure."""
    view = terminal()
    view.until(lambda text: "q ends" in text)
    view.type(b"\x03")
    assert view.ended() == 0
    assert OFF in view.text
    assert "Traceback" not in view.text


def test_foreign_text_is_no_markup(bench: "Bench", terminal: Callable[..., Terminal]) -> None:
    """A failure's message is drawn as it is, but for what steers a terminal."""
    bench.photo()
    bench.fail("detect", "[bold]loud[/bold] \x1b[31mred")
    view = terminal()
    view.until(lambda text: "q ends" in text)
    view.type(b"q")
    assert view.ended() == 0
    assert "[bold]loud[/bold]" in CODES.sub("", view.text)
    assert "\x1b[31mred" not in view.text


def looked(*flows: tuple[str, int, int]) -> tuple[FlowState, ...]:
    """Flows with so many jobs released, and waiting."""
    return tuple(
        FlowState(flow=Flow(correlation_id=name), states={State.RELEASED: ended, State.WAITING: waits})
        for name, ended, waits in flows
    )


def test_the_rate_is_that_of_jobs_that_end() -> None:
    """Not known before the second look; a flow that came since counts from nothing, one that is gone no more."""
    rate = Rate()
    rate.add(100.0, looked(("a", 1000, 5)))
    assert rate.per_s is None
    rate.add(102.0, looked(("a", 1006, 0)))
    assert rate.per_s == pytest.approx(3.0)
    rate.add(104.0, looked(("b", 10, 1), ("a", 1006, 0)))
    assert rate.per_s == pytest.approx(4.0)
    for look in range(Rate.KEPT):
        rate.add(106.0 + 2 * look, looked(("b", 10, 1)))
    assert rate.per_s == pytest.approx(0.0)


def test_a_beat_that_stands_still_is_noticed() -> None:
    """For how long, since it was first looked at; a beat that rises begins anew."""

    def owners(first: int, second: int) -> list[Owner]:
        return [Owner(id=name, scope="s", host="h", pid=1, beat=beat) for name, beat in (("a", first), ("b", second))]

    beats = Beats()
    assert beats.still_s(100.0, owners(7, 7)) == {"a": 0.0, "b": 0.0}
    assert beats.still_s(130.0, owners(7, 8)) == {"a": 30.0, "b": 0.0}
    assert beats.still_s(140.0, owners(8, 8)) == {"a": 0.0, "b": 10.0}
    assert beats.still_s(150.0, owners(8, 8)[1:]) == {"b": 20.0}

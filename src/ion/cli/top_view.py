"""What `ion top` shows: the same tables as plain text, and drawn in place on a terminal."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import click
import msgspec

from ion.cli.job_view import fault
from ion.cli.output import moment, plain, short, table
from ion.management.report_text import duration, many
from ion.management.verbs.modules import ModuleState
from ion.management.verbs.server import COUNTED_MOST, Overview
from ion.model.job import Job, State

if TYPE_CHECKING:  # heavy: only a terminal needs it
    from rich.table import Table
    from rich.text import Text

FAILURES_SHOWN: Final = 5
MESSAGE_MOST: Final = 160
SILENT_S: Final = 20.0
"""A dispatcher beats every five seconds, and is taken for dead after fifteen without a beat."""
MODULES: Final = ("MODULE", "WAITING", "RUNNING", "COMMITTED", "DEAD", "OLDEST", "SERVED", "STANDING")
DISPATCHERS: Final = ("DISPATCHER", "HOST", "PID", "ALIVE", "MODULES")
FAILURES: Final = ("DIED", "MODULE", "JOB", "FAILURE")
STATES: Final = (State.WAITING, State.RUNNING, State.COMMITTED, State.DEAD)
NUMBERS: Final = frozenset({"WAITING", "RUNNING", "COMMITTED", "DEAD", "OLDEST", "SERVED", "PID"})
STYLES: Final = {"tripped": "bold red", "unserved": "red", "paused": "yellow"}


class Pages(msgspec.Struct, frozen=True, kw_only=True):
    """One look. `per_s` is how many jobs ended a second (None: not known yet); `failures` None: too many to tell.

    `silent_s`: for how long each dispatcher's beat has stood still, as far as was looked.
    """

    overview: Overview
    per_s: float | None
    failures: tuple[Job, ...] | None
    silent_s: Mapping[str, float] = {}

    @property
    def head(self) -> str:
        """The whole in a line."""
        overview = self.overview
        late = overview.oldest_unreleased_s
        facts = [
            moment(overview.now),
            f"{many(overview.open, 'job')} open",
            f"{overview.unreleased:,} unreleased" + (f" (oldest {duration(late)})" if late is not None else ""),
            f"{_count(overview.dead)} dead",
            f"{self.per_s:,.1f} jobs/s ended" if self.per_s is not None else "",
            many(len(overview.dispatchers), "dispatcher"),
        ]
        return "  ·  ".join(fact for fact in facts if fact)

    @property
    def modules(self) -> list[tuple[str, ...]]:
        return [_module(state) for state in self.overview.modules]

    @property
    def dispatchers(self) -> list[tuple[str, ...]]:
        return [
            (
                short(one.id),
                plain(one.host.partition(":")[0], 40),
                str(one.pid),
                self._silence(one.id),
                plain(", ".join(one.modules), 80),
            )
            for one in self.overview.dispatchers
        ]

    def _silence(self, dispatcher: str) -> str:
        silent_s = self.silent_s.get(dispatcher, 0.0)
        return f"silent {duration(silent_s)}" if silent_s > SILENT_S else "beats"

    @property
    def died(self) -> list[tuple[str, ...]]:
        return [
            (moment(job.ended_at), plain(job.module), short(job.id), fault(job.failure)[:MESSAGE_MOST])
            for job in (self.failures or ())[:FAILURES_SHOWN]
        ]

    @property
    def note(self) -> str:
        return "too many dead letters to tell the newest: ion dlq list --since 1h" if self.failures is None else ""


def _module(state: ModuleState) -> tuple[str, ...]:
    return (
        plain(state.registered.module.name),
        *(_count(state.jobs.get(one, 0)) for one in STATES),
        duration(state.oldest_s) if state.oldest_s is not None else "-",
        str(len(state.served_by)),
        state.standing,
    )


def _count(count: int) -> str:
    return f"{count:,}+" if count >= COUNTED_MOST else f"{count:,}"


def show_plain(pages: Pages) -> None:
    """The head and the tables; a table without rows is left out, but that of the modules."""
    click.echo(pages.head)
    click.echo()
    table(MODULES, pages.modules)
    for header, rows in ((DISPATCHERS, pages.dispatchers), (FAILURES, pages.died)):
        if rows:
            click.echo()
            table(header, rows)
    if pages.note:
        click.echo(f"\n{pages.note}")


class Live:
    """The tables on a screen of their own, which is given back in the end. Each drawing goes over the one before."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as Screen

        self._last: list[Any] = []
        self._screen = Screen(console=Console(highlight=False), screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._screen.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._screen.stop()

    def draw(self, pages: Pages) -> None:
        tables = [_table(MODULES, pages.modules), _table(DISPATCHERS, pages.dispatchers), _table(FAILURES, pages.died)]
        self._last = [_text(pages.head, "bold"), *(part for one in tables if one.rows for part in ("", one))]
        if pages.note:
            self._last += ["", _text(pages.note, "dim")]
        self._put(_text("q ends", "dim"))

    def complain(self, sentence: str) -> None:
        """Keeps what was drawn last, and says that it is old."""
        self._put(_text(plain(sentence), "bold red"))

    def _put(self, foot: "Text") -> None:
        from rich.console import Group

        self._screen.update(Group(*self._last, "", foot), refresh=True)


def _text(text: str, style: str = "") -> "Text":
    """Foreign text: nothing in it is taken for markup."""
    from rich.text import Text

    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in header:
        made.add_column(name, justify="right" if name in NUMBERS else "left", no_wrap=True)
    for row in rows:
        made.add_row(*(_text(cell, STYLES.get(cell, "")) for cell in row))
    return made

"""Which root events the options of `ion run` ask for."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from ion.cli.context import key_values
from ion.cli.output import plain
from ion.dispatcher.admit import jobs_for
from ion.errors import InvalidError
from ion.management.events import RootEvent, RootFile
from ion.management.graph import Graph, Severity
from ion.model.event import Event
from ion.model.module import Module
from ion.ports.ledger import Subscriber


def root_events(
    event_type: str | None,
    *,
    values: tuple[str, ...],
    files: tuple[Path, ...],
    each: tuple[str, ...],
    each_set: tuple[str, ...],
    subject: str,
) -> Sequence[RootEvent]:
    """One event; with `each` or `each_set` one for each matching file and each value. None without a type.

    Raises:
        InvalidError: options without a type, a glob that matches nothing, a bad KEY=VALUE.
    """
    if event_type is None:
        if values or files or each or each_set or subject:
            raise InvalidError("say which event to raise: --event TYPE goes with --set, --file, --each and --subject")
        return ()
    shared = key_values(values)

    def root(data: Mapping[str, str], *more: Path) -> RootEvent:
        brought = tuple(RootFile(name=file.name, file=file) for file in (*files, *more))
        # What an event of a series is about is its own file, not one that all of them bring.
        about = subject or (more[0].name if more else "" if files else next(iter(data.values()), ""))
        return RootEvent(type=event_type, data={**shared, **data}, files=brought, subject=about)

    if not each and not each_set:
        return (root({}),)
    found = dict.fromkeys(file for pattern in each for file in matching(pattern))
    return (*(root({}, file) for file in found), *(root(key_values((pair,))) for pair in each_set))


def matching(pattern: str) -> Sequence[Path]:
    """The files of a glob (`**` goes into folders), in order. Raises InvalidError where there are none."""
    found = [path for name in sorted(glob.glob(pattern, recursive=True)) if (path := Path(name)).is_file()]  # noqa: PTH207  an absolute pattern is fine too
    if not found:
        raise InvalidError(f"--each '{pattern}' matches no file: quote the pattern, and mind the folder")
    return found


def warn(graph: Graph) -> None:
    """Says on standard error what is most likely a mistake; `ion graph` says the rest as well."""
    for problem in graph.problems():
        if problem.severity is Severity.WARNING:
            click.echo(f"{problem.severity}: {problem.message}", err=True)


def require_taken(modules: Sequence[Module], events: Sequence[Event]) -> None:
    """Raises InvalidError where the filters of all modules turn all of these events away."""
    subscribers = [Subscriber(module=module.name, subscription=one) for module in modules for one in module.on]
    for event in events:
        if jobs_for(event, [s for s in subscribers if s.subscription.type == event.type], max_hops=1):
            return
    if events:
        raise InvalidError(f"no module takes '{plain(events[0].type)}': the filters of all that hear it turn it away")


def require_heard(graph: Graph, event_type: str) -> None:
    """Raises InvalidError, with the nearest type, where no module hears the root event."""
    if not graph.hearers(event_type):
        near = graph.nearest_heard(event_type)
        heard = dict.fromkeys(type_ for types in graph.hears.values() for type_ in types)
        hint = f"did you mean '{near}'?" if near else f"it hears {', '.join(heard) or 'nothing'}"
        raise InvalidError(f"no module of the pipeline hears '{event_type}'; {hint}")

"""The audit trail: every change that was asked for, done or refused, whether by the API or by a command on the store.

An entry is written once the outcome is known, also where the caller went away meanwhile. What it says of the arguments
is what names things (modules, ids, filters), never contents: no environment, no data of events. If the ledger cannot
take it, the change stands, and the entry is in the log: to fail here would tell the caller that nothing was done.
"""

import logging
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import msgspec

from ion.errors import IonError
from ion.management.access.around import Arguments, Around, Call, Stream, wrapped
from ion.management.access.callers import Caller
from ion.management.access.needs import need
from ion.management.verbs import Management
from ion.management.verbs.events import NewEvent
from ion.model.module import Module
from ion.ports.ledger import Entry, Ledger

log = logging.getLogger(__name__)

HERE = "here"
"""Where a change comes from that a command made on the store itself."""

MOST = 500
SHOWN = 10
"""So many of a list are named."""

_USERINFO = re.compile(r"(://)[^/\s@]*@")
_SECRET = re.compile(r"(?i)\b(pass\w*|secret\w*|token|sig|signature|\w*key)=[^&;\s,]+")


def recorded(management: Management, caller: Caller, ledger: Ledger) -> Management:
    """The same verbs; what they change, or are refused to, goes into the trail as this caller's doing."""
    return wrapped(management, _Record(caller, ledger))


class _Record(Around):
    def __init__(self, caller: Caller, ledger: Ledger) -> None:
        self._caller, self._ledger = caller, ledger

    async def call(self, verb: str, arguments: Arguments, go: Call) -> Any:
        async with self._noted(verb, arguments):
            return await go(arguments)

    async def stream(self, verb: str, arguments: Arguments, go: Stream) -> AsyncGenerator[Any]:
        async with self._noted(verb, arguments):
            rows = go(arguments)
            try:
                async for row in rows:
                    yield row
            finally:
                await rows.aclose()

    @asynccontextmanager
    async def _noted(self, verb: str, arguments: Arguments) -> AsyncGenerator[None]:
        if not need(verb, arguments).changes:
            yield
            return
        outcome = "it was broken off"
        try:
            yield
            outcome = ""
        except IonError as error:
            outcome = str(error)
            raise
        except Exception as error:
            outcome = f"it failed: {type(error).__name__}"
            raise
        finally:
            await self._note(verb, arguments, outcome)

    async def _note(self, verb: str, arguments: Arguments, outcome: str) -> None:
        entry = Entry(
            at=datetime.now(UTC),  # the ledger's clock replaces it
            actor=self._caller.actor,
            role=self._caller.role,
            verb=verb,
            about=about(arguments),
            peer=self._caller.peer,
            outcome=masked(outcome),
        )
        await keep(entry, self._ledger)


async def keep(entry: Entry, ledger: Ledger) -> None:
    """Adds an entry to the trail, or to the log."""
    try:
        await ledger.note(entry)
    except IonError as error:
        log.error("the audit trail lacks an entry, as the ledger did not take it (%s): %r", error, entry)


async def keep_applied(modules: Sequence[str], actor: str, ledger: Ledger) -> None:
    """What `ion run` and `ion up` did to the modules of a store when they began; nothing if nothing."""
    if modules:
        told = about({"modules": tuple(modules)})
        await keep(Entry(at=datetime.now(UTC), actor=actor, verb="modules.apply", about=told, peer=HERE), ledger)


def about(arguments: Arguments) -> str:
    """The arguments as the trail tells them: what is named, `name=detect concurrency=4`."""
    told = {name: _told(value) for name, value in arguments.items()}
    return masked(" ".join(f"{name}={text}" for name, text in told.items() if text))[:MOST]


def _told(value: Any) -> str:
    match value:
        case NewEvent():  # its data are nobody's business
            return f"{value.type}:{value.id}" if value.id else value.type
        case Module():
            return value.name
        case msgspec.Struct():
            fields = {name: _told(getattr(value, name)) for name in value.__struct_fields__}
            return ",".join(f"{name}:{text}" for name, text in fields.items() if text)
        case tuple() | list():
            more = f",… ({len(value)})" if len(value) > SHOWN else ""
            return ",".join(_told(one) for one in value[:SHOWN]) + more
        case _:
            return _scalar(value)


def _scalar(value: Any) -> str:
    match value:
        case None | "" | False:
            return ""
        case Enum():
            return str(value.value)
        case datetime():
            return value.isoformat()
        case _:
            return str(value) if isinstance(value, str | int | float) else ""


def masked(text: str) -> str:
    """A text without what looks like a secret: who logs in by a URL, and the values of tokens and passwords."""
    return _SECRET.sub(lambda found: f"{found[1]}=***", _USERINFO.sub(r"\1***@", text))

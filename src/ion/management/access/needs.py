"""What each verb needs: the one table that the gate and the record read.

`reach` says what becomes of a caller whose roles are for some pipelines only. Where a verb names its subject (a job, a
flow, a module), that must be of these pipelines. Where it names none, lists are narrowed to what is theirs, and what is
about the whole of an Ion, or would touch others too, is refused: an answer that leaves out without a word what a person
relies on seeing (a finding of the audit, a symptom) would be worse than none.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import NamedTuple

from ion.management.access.around import Arguments
from ion.model.role import Role


class Reach(Enum):
    """Of a verb that was called without naming a subject."""

    NAMED = auto()  # refused: it must name one
    ROWS = auto()  # narrowed: only what belongs to the caller's pipelines is given
    FREE = auto()  # tells nothing that belongs to a pipeline
    WHOLE = auto()  # refused, whatever it names


class Need(NamedTuple):
    """The role that a verb asks for, its reach, and whether it changes anything (then it is recorded)."""

    role: Role
    reach: Reach = Reach.NAMED
    changes: bool = False


_LOOK = Need(Role.VIEWER)
_LIST = Need(Role.VIEWER, Reach.ROWS)
_LOOK_AT_ALL = Need(Role.VIEWER, Reach.WHOLE)
_OPERATE = Need(Role.OPERATOR, changes=True)
_ADMINISTER = Need(Role.ADMIN, changes=True)

NEEDS: Mapping[str, Need] = {
    "jobs.get": _LOOK,
    "jobs.show": _LOOK,
    "jobs.page": _LIST,
    "jobs.latest": _LIST,
    "jobs.log": _LOOK,
    "jobs.files": _LOOK,
    "jobs.read": _LOOK,
    "jobs.work": _LOOK,
    "jobs.retry": _OPERATE,
    "jobs.cancel": _OPERATE,
    "jobs.rerun": _OPERATE,
    "letters.list": _LIST,
    "letters.redrive": _OPERATE,
    "flows.get": _LOOK,
    "flows.list": _LIST,
    "flows.control": _OPERATE,
    "flows.prioritise": _OPERATE,
    "flows.wait": _LOOK,
    "flows.records": _LOOK,
    "flows.tree": _LOOK,
    "flows.report": _LOOK,
    "modules.list": _LIST,
    "modules.get": _LOOK,
    "modules.apply": _ADMINISTER,
    "modules.delete": _ADMINISTER,
    "modules.pause": _OPERATE,
    "modules.scale": _OPERATE,
    "modules.rollback": _ADMINISTER,
    "modules.history": _LOOK,
    "events.create": _OPERATE,
    "events.next": _LOOK,
    "bus.depths": _LIST,
    "bus.replay": _OPERATE,
    "findings.find": _LIST,
    "findings.why": Need(Role.VIEWER, Reach.ROWS),
    "findings.insights": _LIST,
    "server.info": Need(Role.VIEWER, Reach.FREE),
    "server.overview": _LIST,
    "server.doctor": _LOOK_AT_ALL,
    "server.audit": _LOOK_AT_ALL,
    "server.usage": _LOOK_AT_ALL,
    "server.collect": Need(Role.ADMIN, Reach.WHOLE, changes=True),
    "server.trail": _LOOK_AT_ALL,
}


def need(verb: str, arguments: Arguments) -> Need:
    """What the verb needs with these arguments.

    One that only tells what it would do is a look; a dead letter that gets another image first is a change of its
    module; an event that is taken from the bus is gone from it. A verb that the table does not know needs all.
    """
    needed = NEEDS.get(verb, Need(Role.ADMIN, Reach.WHOLE, changes=True))
    if arguments.get("dry"):
        return needed._replace(role=Role.VIEWER, changes=False)
    if verb == "letters.redrive" and arguments.get("image"):
        return needed._replace(role=Role.ADMIN)
    if verb == "events.next" and arguments.get("take"):
        return needed._replace(role=Role.OPERATOR, changes=True)
    return needed

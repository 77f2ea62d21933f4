"""A job as a document, and what every change of one shares.

Fields have the names and shapes of the SQLite ledger's columns, texts of JSON included, so both are read by the same
code. Beside them stand `shard` (the module and the first digit of the id: what the jobs are spread by), `rev` (rises
with every change; each is guarded by it), `flow` and `event_id`, and where the job stands:

| `place`    | who stands there                       | by `rank`                              |
|------------|----------------------------------------|----------------------------------------|
| `due`      | waiting, to be claimed                 | route; priority, then its flow's turn  |
| `later`    | waiting until `not_before`             | that time                              |
| `withheld` | waiting, but held                      | -                                      |
| `running`  | running                                | its deadline                           |
| `relay`    | committed, to be relayed               | the order of admission                 |
| `deferred` | committed, its relay is put off        | until when                             |
| a state    | whatever has ended                     | the order of admission                 |

So each question that the ledger is asked is a stretch of one index. `due` comes before `later` and that before
`withheld` in the alphabet, which `waiting` makes use of.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from ion.adapters.ledger.rows import COLUMNS, clipped, job_from, text
from ion.adapters.mongo.database import Document
from ion.model.job import HISTORY_LIMIT, Change, Job, State

DUE, LATER, WITHHELD, RUNNING, RELAY, DEFERRED = "due", "later", "withheld", "running", "relay", "deferred"

PLACES: dict[State, tuple[str, ...]] = {
    State.WAITING: (DUE, LATER, WITHHELD),
    State.RUNNING: (RUNNING,),
    State.COMMITTED: (RELAY, DEFERRED),
    **{state: (state.value,) for state in State if state not in (State.WAITING, State.RUNNING, State.COMMITTED)},
}
STATES: dict[str, State] = {place: state for state, places in PLACES.items() for place in places}

_COLUMNS = ["_id" if column == "id" else column for column in COLUMNS.split(", ")]
_PRIORITY_MOST = 1_000_000
_TAGS = 1 << 40
_MIDDLE = (_PRIORITY_MOST + 1) * _TAGS
"""What makes every rank a number from 0, which as a text of twenty digits keeps its order."""
_lines: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])


def shard_of(module: str, job: str) -> str:
    """What a job is spread by: sixteen shards a module."""
    return f"{module}:{job[:1]}"


def job_of(document: Document) -> Job:
    """The job of a document."""
    return job_from((*(document[column] for column in _COLUMNS[:-1]), route_of(document)))


def route_of(document: Mapping[str, Any]) -> str:
    """The route of a job; there is none in documents of an older Ion."""
    return str(document.get("route", ""))


def line(route: str) -> dict[str, Any]:
    """The ranks of the due jobs of a route, a stretch of their own behind the numbers of those on none."""
    return {"$gt": f"{route}\t", "$lt": f"{route}\n"} if route else {"$lt": math.inf}


def order(priority: int, tag: int) -> int:
    """The rank of a due job, in one number: by priority, then by the turns of the flows."""
    return -max(-_PRIORITY_MOST, min(_PRIORITY_MOST, priority)) * _TAGS + tag


def standing(document: Mapping[str, Any]) -> tuple[str, int | float | str]:  # noqa: PLR0911  one a place
    """The place and the rank of a job."""
    match State(document["state"]):
        case State.WAITING if document["hold"]:
            return WITHHELD, 0
        case State.WAITING if document["not_before"] is not None:
            return LATER, document["not_before"]
        case State.WAITING:
            rank, route = order(document["priority"], document["tag"]), route_of(document)
            return DUE, f"{route}\t{rank + _MIDDLE:020}" if route else rank
        case State.RUNNING:
            return RUNNING, document["deadline"]
        case State.COMMITTED if document["not_before"] is not None:
            return DEFERRED, document["not_before"]
        case State.COMMITTED:
            return RELAY, document["seq"]
        case ended:
            return ended.value, document["seq"]


def altered(document: Document, **fields: Any) -> Document:
    """The document with other values, in its new place, one revision later."""
    new = {**document, **fields, "rev": document["rev"] + 1}
    new["place"], new["rank"] = standing(new)
    return new


def changed(document: Document, now: float, actor: str, note: str = "", **fields: Any) -> Document:
    """The same with a line in its history.

    The first line of a full history is kept and the second dropped, so it always tells how the job came to be.
    """
    new = altered(document, **fields)
    at = datetime.fromtimestamp(now, UTC)
    line = Change(at=at, state=State(new["state"]), attempt=new["attempt"], actor=actor, note=clipped(note))
    lines = _lines.decode(new["history"])
    if len(lines) >= HISTORY_LIMIT:
        del lines[1]
    new["history"] = text([*lines, msgspec.Raw(msgspec.json.encode(line))])
    return new


def ended(now: float) -> dict[str, Any]:
    """What all jobs share whose attempt, or whose waiting, is over."""
    return {"ended_at": now, "deadline": None, "not_before": None, "devices": "[]", "cancelling": 0, "hold": ""}

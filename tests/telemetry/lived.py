"""Jobs as a ledger has them, at times that can be read: seconds after `EPOCH`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ion.model.event import Event, FileRef
from ion.model.job import Change, Failure, FailureClass, Job, State
from ion.model.manifest import Manifest, ManifestRef, Usage

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
BASE_S = EPOCH.timestamp()
JOB = "7d1a4e0c-31c5-5a33-9d0b-6b6f1f0a2018"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FAILED = Failure(kind=FailureClass.MODULE, message="exit code 7", exit_code=7)


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def change(seconds: float, state: State, attempt: int = 1) -> Change:
    return Change(at=at(seconds), state=state, attempt=attempt, actor="a")


def job(**fields: Any) -> Job:
    """Admitted at 0, claimed at 10 for its first attempt."""
    event = Event(
        id="e", type="photo", source="s", correlation_id="f", parent_id="p", time=EPOCH, traceparent=PARENT,
        files=(FileRef(path="a", blob="b", size=5),),
    )  # fmt: skip
    made = Job(
        id=JOB,
        module="detect",
        event=event,
        state=State.RUNNING,
        attempt=1,
        owner="d",
        revision="r",
        admitted_at=at(0),
        started_at=at(10),
        history=(change(0, State.WAITING, 0), change(10, State.RUNNING)),
    )
    return msgspec.structs.replace(made, **fields)


def manifest(began: float = 12, stored: float = 33) -> ManifestRef:
    """Of a module that began and whose results were stored then."""
    whole = Manifest(
        job=JOB, attempt=1, execution="x", module="detect", event_id="e", correlation_id="f", parent_event_id="p",
        started_at=at(began), ended_at=at(stored), host="node-1", usage=Usage(cpu_s=3.5),
        files=(FileRef(path="o", blob="o", size=7),),
    )  # fmt: skip
    return ManifestRef(
        blob="m", sha256="", execution="x", files=1, events=2, inline=msgspec.json.encode(whole).decode(),
        started_at=at(began), ended_at=at(stored),
    )  # fmt: skip


def committed(**fields: Any) -> Job:
    return job(state=State.COMMITTED, manifest=manifest(), ended_at=at(35), **fields)

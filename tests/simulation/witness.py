"""The witness: sees every single change of a row at the instant it is made, and judges it.

Triggers of the simulation's own call it from inside the transaction, so no change is missed however many fall between
two looks. It keeps a picture of the jobs of its own, by which later looks at the whole ledger are judged.
"""

import sqlite3
from collections.abc import Callable

import msgspec

from ion.model import ids
from ion.model.event import Event
from ion.model.job import Failure, State
from ion.model.manifest import Manifest, ManifestRef
from ion.model.module import Module

_TRIGGERS = """
CREATE TEMP TRIGGER sim_admitted AFTER INSERT ON main.jobs BEGIN
  SELECT sim_admitted(json_array(new.id, new.module, new.flow, json(new.event), new.state, new.attempt, new.run,
    new.hold)); END;
CREATE TEMP TRIGGER sim_decided AFTER INSERT ON main.manifests BEGIN
  SELECT sim_decided((SELECT id FROM main.jobs WHERE seq = new.job), new.body); END;
CREATE TEMP TRIGGER sim_changed AFTER UPDATE ON main.jobs BEGIN
  SELECT sim_changed(new.id, json_array(
    json_array(old.state, old.attempt, old.owner, old.execution, old.cursor, old.cancelling, json(old.failures),
      old.hold, old.troubled_at, old.revision, old.scope),
    json_array(new.state, new.attempt, new.owner, new.execution, new.cursor, new.cancelling, json(new.failures),
      new.hold, new.troubled_at, new.revision, new.scope),
    new.deadline, json(new.failure))); END;
CREATE TEMP TRIGGER sim_flow AFTER UPDATE OF control ON main.flows BEGIN SELECT sim_flow(new.id, new.control); END;
CREATE TEMP TRIGGER sim_registered AFTER INSERT ON main.modules BEGIN SELECT sim_registered(new.name, 1); END;
CREATE TEMP TRIGGER sim_removed AFTER DELETE ON main.modules BEGIN SELECT sim_registered(old.name, 0); END;
CREATE TEMP TRIGGER sim_paused AFTER UPDATE OF paused ON main.modules BEGIN
  SELECT sim_paused(new.name, new.paused); END;
"""


class Face(msgspec.Struct, frozen=True, array_like=True):
    """What a rule looks at on one side of a change."""

    state: State
    attempt: int
    owner: str
    execution: str
    cursor: int
    cancelling: bool
    failures: dict[str, int]
    hold: str
    troubled_at: float | None
    revision: str
    scope: str


class Change(msgspec.Struct, frozen=True, array_like=True):
    """One update of one row."""

    old: Face
    new: Face
    deadline: float | None
    failure: Failure | None


class Admitted(msgspec.Struct, frozen=True, array_like=True):
    """One new row."""

    id: str
    module: str
    flow: str
    event: Event
    state: State
    attempt: int
    run: int
    hold: str


_change = msgspec.json.Decoder(Change, strict=False)
_admitted = msgspec.json.Decoder(Admitted)
_manifest = msgspec.json.Decoder(Manifest)
_reference = msgspec.json.Decoder(ManifestRef)


class Known(msgspec.Struct, eq=False):
    """A job as the witness pictures it. `decided_at` is a tick of the witness."""

    id: str
    module: str
    flow: str
    event: Event
    state: State
    attempt: int = 0
    owner: str = ""
    execution: str = ""
    manifest: Manifest | None = None
    decided_at: int = 0


class Witness:
    """`judge` is asked about every change; what it says is kept in `faults`."""

    def __init__(self, judge: Callable[["Witness", Known, Change], list[str]]) -> None:
        self._judge = judge
        self.ticks = 0
        self.jobs: dict[str, Known] = {}
        self.raised: dict[str, Event] = {}
        """The events of decided manifests; nothing else may be visible."""
        self.controls: dict[str, str] = {}
        self.registered: dict[str, int] = {}
        """Modules, and since when they are registered without a break."""
        self.paused: set[str] = set()
        self.published: set[str] = set()
        self.modules: dict[str, Module] = {}
        """Every revision that was ever applied."""
        self.stamps: Callable[[str], int | None] = lambda _: None
        self.claims: dict[tuple[str, int], int | None] = {}
        """The stamp of the claim that each attempt comes from."""
        self.faults: list[str] = []
        self.released: list[Known] = []
        """Released since the last look at the whole."""

    def attach(self, connection: sqlite3.Connection) -> None:
        """Sees from now on what is changed over this connection."""
        for name, function, arity in (
            ("sim_admitted", self._admitted, 1),
            ("sim_changed", self._changed, 2),
            ("sim_decided", self._decided, 2),
            ("sim_flow", self.controls.__setitem__, 2),
            ("sim_registered", self._registered, 2),
            ("sim_paused", self._paused, 2),
        ):
            connection.create_function(name, arity, function)
        if not connection.execute("SELECT 1 FROM temp.sqlite_master").fetchone():
            connection.executescript(_TRIGGERS)

    # ---- called by the triggers -------------------------------------------------------------------------------

    def _admitted(self, row: str) -> None:
        self.ticks += 1
        new = _admitted.decode(row)
        if new.id in self.jobs:
            self.faults.append(f"R2: job {new.id} was admitted twice")
        job = Known(new.id, new.module, new.flow, new.event, new.state, new.attempt)
        self.jobs[new.id] = job
        if new.state is not State.COMMITTED:  # a gateway's
            self.faults += _admission_faults(self, new)

    def _changed(self, key: str, row: str) -> None:
        self.ticks += 1
        job, change = self.jobs[key], _change.decode(row)
        job.state, job.attempt, job.owner = change.new.state, change.new.attempt, change.new.owner
        if change.new.attempt > change.old.attempt:
            self.claims[key, job.attempt] = self.stamps(change.new.owner)
        self.faults += [f"{fault} (job {key[:8]} of {job.module})" for fault in self._judge(self, job, change)]

    def _decided(self, key: str, reference: str) -> None:
        """The results of a job are decided: from now on its events may be seen."""
        job, manifest = self.jobs[key], _reference.decode(reference)
        job.manifest = _manifest.decode(manifest.inline)
        job.execution, job.decided_at = manifest.execution, self.ticks
        self.raised.update({event.id: event for event in job.manifest.events})

    def _registered(self, module: str, present: int) -> None:
        self.ticks += 1
        self.registered.pop(module, None)
        self.paused.discard(module)
        if present:
            self.registered[module] = self.ticks

    def _paused(self, module: str, paused: int) -> None:
        (self.paused.add if paused else self.paused.discard)(module)


def _admission_faults(witness: Witness, new: Admitted) -> list[str]:
    found = []
    if new.id != ids.job_id(new.event.id, new.module, new.run):
        found.append(f"R2: job {new.id} of {new.module} has not the id that its event gives")
    if witness.raised.get(new.event.id) != new.event:
        found.append(f"R3: job {new.id} of {new.module} is for an event that no decided execution raised")
    control = witness.controls.get(new.flow, "")
    if new.state is State.WAITING and (control == "cancelled" or (control == "paused" and not new.hold)):
        found.append(f"a {control} flow got the waiting job {new.id}")
    return found

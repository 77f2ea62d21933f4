"""What is applied and who serves it: modules with their revisions and health, and owners with their beats."""

import sqlite3
from collections.abc import Sequence

import msgspec

from ion.adapters.ledger.history import APPLIED, REMOVED
from ion.adapters.ledger.rows import text
from ion.adapters.ledger.sqlite_jobs import disown_committed
from ion.errors import ConflictError, NotFoundError
from ion.model.module import Revision
from ion.ports.ledger import Health, Owner, Registered

_owner = msgspec.json.Decoder(Owner)
_revision = msgspec.json.Decoder(Revision)


def registry_version(connection: sqlite3.Connection) -> int:
    """Rises with every change of the registered modules."""
    (version,) = connection.execute("SELECT version FROM registry").fetchone()
    return int(version)


def note_action(connection: sqlite3.Connection, actor: str, action: str, subject: str, now: float) -> None:
    """Keeps who did what."""
    connection.execute(
        "INSERT INTO actions (at, actor, action, subject) VALUES (?, ?, ?, ?)", (now, actor, action, subject)
    )


# ---- modules ----------------------------------------------------------------------------------------------------


def apply(connection: sqlite3.Connection, revisions: Sequence[Revision], actor: str, now: float) -> Sequence[str]:
    """Registers modules or their new revisions; see `Ledger.apply`."""
    changed = [one.module.name for one in revisions if _apply_one(connection, one, actor, now)]
    if changed:
        connection.execute("UPDATE registry SET version = version + 1")
    return tuple(dict.fromkeys(changed))


def _apply_one(connection: sqlite3.Connection, revision: Revision, actor: str, now: float) -> bool:
    module = revision.module
    present = connection.execute("SELECT pipeline, revision FROM modules WHERE name = ?", (module.name,)).fetchone()
    if present is not None and present[0] != module.pipeline:
        raise ConflictError(
            f"the module {module.name} belongs to the pipeline {present[0] or '(unnamed)'}; give this one another name"
        )
    if present is not None and present[1] == revision.id:
        return False
    connection.execute(
        "INSERT INTO revisions (module, id, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (module.name, revision.id, text(revision)),
    )
    connection.execute(
        "INSERT INTO modules (name, pipeline, revision) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET revision = excluded.revision",
        (module.name, module.pipeline, revision.id),
    )
    note_action(connection, actor, APPLIED + revision.id, module.name, now)
    return True


def remove(connection: sqlite3.Connection, module: str, actor: str, now: float) -> bool:
    """Removes a module; see `Ledger.remove`."""
    if not connection.execute("DELETE FROM modules WHERE name = ?", (module,)).rowcount:
        return False
    connection.execute("UPDATE registry SET version = version + 1")
    note_action(connection, actor, REMOVED, module, now)
    return True


def pause_module(connection: sqlite3.Connection, module: str, *, paused: bool, actor: str, now: float) -> None:
    """Stops or starts a module's claims; see `Ledger.pause_module`."""
    reset = "" if paused else ", dead_in_row = 0, trouble_in_row = 0, failed_at = NULL"
    found = connection.execute(f"UPDATE modules SET paused = ?{reset} WHERE name = ?", (paused, module))  # noqa: S608  our own constants
    if not found.rowcount:
        raise NotFoundError(f"there is no module {module}; apply its pipeline first")
    note_action(connection, actor, "pause" if paused else "start", module, now)


def modules(connection: sqlite3.Connection, now: float) -> Sequence[Registered]:
    """The registered modules, by name."""
    rows = connection.execute(
        "SELECT revisions.body, paused, dead_in_row, trouble_in_row, failed_at FROM modules"
        " JOIN revisions ON revisions.module = modules.name AND revisions.id = modules.revision ORDER BY name"
    )
    return tuple(
        Registered(
            revision=_revision.decode(body),
            paused=bool(paused),
            health=Health(
                dead_in_row=dead,
                trouble_in_row=trouble,
                quiet_s=0.0 if failed_at is None else abs(now - failed_at),
            ),
        )
        for body, paused, dead, trouble, failed_at in rows
    )


def revision(connection: sqlite3.Connection, module: str, key: str) -> Revision:
    """A revision that was once applied; see `Ledger.revision`."""
    row = connection.execute("SELECT body FROM revisions WHERE module = ? AND id = ?", (module, key)).fetchone()
    if row is None:
        raise NotFoundError(f"the module {module} never had a revision {key}; apply its pipeline again")
    return _revision.decode(row[0])


# ---- owners -----------------------------------------------------------------------------------------------------


def beat(connection: sqlite3.Connection, owner: Owner) -> Sequence[Owner]:
    """Adds the owner or raises its beat; all owners. See `Ledger.beat`."""
    connection.execute(
        "INSERT INTO owners (id, beat, body) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET beat = owners.beat + 1, body = excluded.body",
        (owner.id, owner.beat + 1, text(owner)),
    )
    known = owners(connection)
    strays = connection.execute(
        "SELECT owner, max(scope) FROM jobs INDEXED BY jobs_running WHERE state = 'running'"
        " AND owner NOT IN (SELECT id FROM owners) GROUP BY owner ORDER BY owner"
    )
    return (*known, *(Owner(id=key, scope=scope, host="", pid=0) for key, scope in strays))


def owners(connection: sqlite3.Connection) -> Sequence[Owner]:
    """See `Ledger.owners`."""
    rows = connection.execute("SELECT body, beat FROM owners ORDER BY id")
    return [msgspec.structs.replace(_owner.decode(body), beat=count) for body, count in rows]


def retire(connection: sqlite3.Connection, owner: str) -> bool:
    """Removes an owner; whether committed jobs became nobody's.

    While it still has running jobs its row stays, and its beat stands still: that is how others learn whom to adopt.
    """
    freed = disown_committed(connection, owner)
    connection.execute(
        "DELETE FROM owners WHERE id = :owner"
        " AND NOT EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND owner = :owner)",
        {"owner": owner},
    )
    return freed

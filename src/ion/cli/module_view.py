"""How modules, their revisions and their changes look, on a terminal and as JSON."""

import json
from collections.abc import Iterable, Iterator, Sequence

from ion.cli.output import moment, plain
from ion.management.created import deployed_name
from ion.management.report_text import duration, size
from ion.management.verbs.modules import Applied, Change, Difference, Fate, ModuleState
from ion.messaging.rules import aim, condition
from ion.model.module import Module, Revision
from ion.ports.ledger import Past, Registered

REVISION_SHOWN = 12
VALUE_MOST = 60
_SIGNS = {Fate.ADDED: "+", Fate.CHANGED: "~", Fate.REMOVED: "-", Fate.UNCHANGED: "="}


def runs(module: Module) -> str:
    """What a module runs: its image, its command, or both."""
    return plain(" ".join(part for part in (module.image, *module.command) if part), VALUE_MOST)


def row(one: Registered) -> tuple[str, ...]:
    """A module in a table."""
    module = one.module
    return (
        module.name,
        deployed_name(one.revision),
        module.pipeline or "-",
        module.provider,
        str(module.concurrency),
        "paused" if one.paused else "-",
        runs(module),
    )


def view(one: Registered) -> dict[str, object]:
    """A module as JSON, with the original's name of it."""
    return {
        "name": one.module.name,
        "deployed": deployed_name(one.revision),
        "revision": one.revision.id,
        "paused": one.paused,
        "module": one.module,
    }


def state_view(state: ModuleState) -> dict[str, object]:
    """A module and how it fares; `status` and `statusMessage` are the original's."""
    return {
        **view(state.registered),
        "status": state.standing,
        "statusMessage": state.message,
        "jobs": {key.value: count for key, count in state.jobs.items()},
        "oldest_s": state.oldest_s,
        "served_by": state.served_by,
    }


def described(state: ModuleState) -> Iterator[tuple[str, str]]:
    """Name and value of what there is to say."""
    module, revision = state.registered.module, state.registered.revision
    yield "module", module.name
    yield "deployed", deployed_name(revision)
    yield "pipeline", module.pipeline
    yield "standing", f"{state.standing}: {plain(state.message)}" if state.message else state.standing
    yield "jobs", ", ".join(f"{count:,} {key.value}" for key, count in state.jobs.items() if count) or "none"
    yield "oldest", "" if state.oldest_s is None else f"waits for {duration(state.oldest_s)}"
    yield "served by", ", ".join(one[:8] for one in state.served_by)
    yield from configured(revision)


def configured(revision: Revision) -> Iterator[tuple[str, str]]:
    """What a module is told to do."""
    module = revision.module
    yield "revision", revision.id
    yield "provider", module.provider
    yield from (
        (f"rule {number}", plain(f"{aim(rule, module)} if {condition(rule)}"))
        for number, rule in enumerate(module.route, 1)
    )
    yield "priority", f"{module.priority}" if module.priority else ""
    yield "image", plain(module.image)
    yield "command", plain(" ".join(module.command))
    yield "hears", ", ".join(dict.fromkeys(one.type for one in module.on))
    yield "emits", ", ".join(module.emits)
    yield "at once", f"{module.concurrency:,}"
    yield "timeout", duration(module.timeout_s)
    yield "retries", f"{module.retries.module} of its own failures, {module.retries.timeout} of time-outs"
    yield "needs", ", ".join(_needs(module))
    yield "variables", ", ".join([*module.env, *(f"{name} (secret)" for name in module.secrets)])
    yield "file", plain(module.origin)


def _needs(module: Module) -> Iterator[str]:
    needs = module.resources
    for name, amount in (("cpu", needs.cpu), ("gpu", needs.gpu)):
        if amount:
            yield f"{amount:g} {name}"
    for name, amount in (("memory", needs.memory), ("disk", needs.disk), ("shm", needs.shm)):
        if amount:
            yield f"{size(amount)} {name}"


# ---- changes ------------------------------------------------------------------------------------------------------


def change_lines(change: Change) -> Iterator[str]:
    """`+ detect`, `~ detect: timeout_s 3600 → 7200`, `- old`; several differences have a line each."""
    sign = _SIGNS[change.fate]
    told = [_difference(one) for one in change.differences]
    if len(told) <= 1:
        yield f"{sign} {change.module}" + (f": {told[0]}" if told else "")
        return
    yield f"{sign} {change.module}:"
    yield from (f"    {one}" for one in told)


def _difference(one: Difference) -> str:
    return f"{plain(one.field, VALUE_MOST)} {_value(one.old)} → {_value(one.new)}"


def _value(text: str) -> str:
    """A value as a person writes it: text without quotes."""
    if not text:
        return "(none)"
    value = json.loads(text)
    shown = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return plain(shown, VALUE_MOST)


def applied_view(applied: Applied, *, dry: bool) -> dict[str, object]:
    """What applying did, or would do, as JSON."""
    return {"dry_run": dry, "changes": applied.changes, "warnings": applied.warnings}


def counted(changes: Sequence[Change]) -> str:
    """`1 added, 2 unchanged`."""
    counts = {fate: sum(one.fate is fate for one in changes) for fate in Fate}
    return ", ".join(f"{count} {fate.value}" for fate, count in counts.items() if count) or "no modules"


# ---- history ------------------------------------------------------------------------------------------------------


def history_rows(history: Iterable[Past]) -> list[tuple[str, ...]]:
    """When, by whom and what each time."""
    return [
        (
            moment(past.at) if past.at.timestamp() else "-",
            plain(past.actor) or "-",
            "removed" if past.revision is None else past.revision.id[:REVISION_SHOWN],
            "" if past.revision is None else runs(past.revision.module),
        )
        for past in history
    ]

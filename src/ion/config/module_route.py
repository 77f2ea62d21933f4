"""The rules by which a module's jobs are routed, as a pipeline file has them."""

import re
from typing import Any, ClassVar

import msgspec

from ion.config.kinds import Choice, Duration, ScalarKind, Schema, Whole
from ion.config.module_kinds import Filter
from ion.config.quantities import parse_size
from ion.config.tables import Field, Many, Section
from ion.errors import InvalidError
from ion.model.module import Rule

PROVIDERS = ("local", "kubernetes", "azurebatch")
PRIORITY = Whole(least=-1_000_000, most=1_000_000)


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """A size is from `least` to `most` bytes (None: without end)."""

    least: int = 0
    most: int | None = None


class SizeBound(ScalarKind[Bound], frozen=True):
    """A comparison with a size: `>1Gi`, `<= 20Mi`."""

    pattern: ClassVar[str] = r"(<=|>=|<|>)\s*(.+)"

    def parse(self, text: str) -> Bound:
        if not (found := re.fullmatch(self.pattern, text)):
            raise ValueError("a comparison with a size such as '>1Gi' or '<=20Mi'")
        sign, size = found[1], parse_size(found[2])
        if sign == "<" and not size:
            raise ValueError("a comparison that can hold: no size is below 0")
        match sign:
            case ">":
                return Bound(least=size + 1)
            case ">=":
                return Bound(least=size)
            case "<":
                return Bound(most=size - 1)
            case _:
                return Bound(most=size)

    def schema(self, _: dict[str, Schema]) -> Schema:
        return {"type": "string", "pattern": rf"^{self.pattern}$|\$"}


def _when(
    *, size: tuple[Bound, ...] = (), filters: tuple[dict[str, Any], ...] = (), waited_s: float = 0.0
) -> dict[str, Any]:
    if not (size or filters or waited_s):
        raise InvalidError("it says nothing; write size, filters or waited, or set the module's own provider")
    least = max((bound.least for bound in size), default=0)
    most = min((bound.most for bound in size if bound.most is not None), default=None)
    if most is not None and most < least:
        raise InvalidError("no size can be all of that; change one of the comparisons")
    return {"size_least": least, "size_most": most, "filters": filters, "waited_s": waited_s}


def _rule(*, when: dict[str, Any], provider: str = "", priority: int | None = None) -> Rule:
    if not provider and priority is None:
        raise InvalidError("it changes nothing; add a provider, a priority or both")
    return Rule(provider=provider, priority=priority or 0, **when)


WHEN = Section(
    name="when",
    doc="What has to hold, all of it.",
    build=_when,
    fields={
        "size": Field(
            kind=Many(item=SizeBound(), single=True), doc="The event's files together: '>1Gi'; or several comparisons."
        ),
        "filters": Field(kind=Many(item=Filter(), single=True), doc="Filters that the event must all pass."),
        "waited": Field(kind=Duration(), doc="How long the job has waited to be started: 10m.", into="waited_s"),
    },
)

ROUTE = Many(
    single=True,
    item=Section(
        name="rule",
        doc="Where a job goes for which something holds.",
        build=_rule,
        required=("when",),
        fields={
            "when": Field(kind=WHEN, doc="What has to hold."),
            "provider": Field(kind=Choice(words=PROVIDERS), doc="Where it runs then; else where the module does."),
            "priority": Field(kind=PRIORITY, doc="Jobs of a higher one are started first; 0 unless set."),
        },
    ),
)

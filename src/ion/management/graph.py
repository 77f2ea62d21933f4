"""The graph of a pipeline: which module hears what which other raises. Pure; nothing is looked up.

A node is a module. An edge is an event type on its way from a module, or from outside, to a module, or to the outside.
The outside raises the root types: those of the gateways, those that a caller names, Ion's own (`ion.…`), and whatever
is heard though no module raises it, for anybody may send it to the front API. The last are reported: they may be
typing errors.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from ion.messaging.nearest import nearest
from ion.messaging.rules import places
from ion.model.module import Module

GATEWAY_ROOTS = ("frontapi.new_link",)
OWN = "ion."
TYPING_ERROR = 0.8
"""Two types so much alike, each with one end loose, are taken for one type written in two ways."""


class Edge(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """An event type between two modules; an empty `source` or `target` is the outside."""

    source: str
    type: str
    target: str


class Severity(StrEnum):
    WARNING = "warning"  # most likely a mistake
    INFO = "info"  # may well be meant


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person should know of. `modules` and `type` say what it is about."""

    severity: Severity
    message: str
    modules: tuple[str, ...] = ()
    type: str = ""


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """`hears` and `emits` are each module's types, in the order of the file; `roots` the types named by the caller;
    `places` says where modules with rules or a priority run.
    """

    hears: dict[str, tuple[str, ...]]
    emits: dict[str, tuple[str, ...]]
    roots: tuple[str, ...] = ()
    places: dict[str, str] = {}

    @classmethod
    def of(cls, modules: Iterable[Module], roots: Sequence[str] = ()) -> "Graph":
        """The graph of these modules. `roots` are types that come from outside, beside the gateways' own."""
        listed = tuple(modules)
        return cls(
            hears={m.name: tuple(dict.fromkeys(s.type for s in m.on)) for m in listed},
            emits={m.name: tuple(dict.fromkeys(m.emits)) for m in listed},
            roots=tuple(dict.fromkeys(roots)),
            places={m.name: where for m in listed if (where := places(m))},
        )

    @property
    def nodes(self) -> tuple[str, ...]:
        """The modules' names."""
        return tuple(self.hears)

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Every edge, those from outside first."""
        hearers, found = _by_type(self.hears), [*(("", t) for t in self.entrances)]
        found += [(name, type_) for name, types in self.emits.items() for type_ in types]
        return tuple(Edge(source=s, type=t, target=target) for s, t in found for target in hearers.get(t) or ("",))

    @property
    def entrances(self) -> tuple[str, ...]:
        """The types that come from outside: the named roots, and what is heard without a module that raises it."""
        emitted, heard = _by_type(self.emits), _by_type(self.hears)
        outside = (t for t in heard if t not in emitted or t in GATEWAY_ROOTS or t.startswith(OWN))
        return tuple(dict.fromkeys([*self.roots, *outside]))

    def hearers(self, event_type: str) -> tuple[str, ...]:
        """The modules that a type may start (their filters decide)."""
        return tuple(name for name, types in self.hears.items() if event_type in types)

    def nearest_heard(self, event_type: str) -> str:
        """The heard type that was probably meant, or nothing."""
        return nearest(event_type, _by_type(self.hears))

    def successors(self, module: str) -> tuple[str, ...]:
        """The modules that a module's events may start, each once."""
        return tuple(dict.fromkeys(name for type_ in self.emits[module] for name in self.hearers(type_)))

    def problems(self) -> tuple[Finding, ...]:
        """What a person should know of, warnings first."""
        found = [*self._not_emitted(), *self._unreachable(), *self._cycles(), *self._not_heard()]
        return tuple(sorted(found, key=lambda finding: finding.severity is Severity.INFO))

    def _not_emitted(self) -> Iterable[Finding]:
        heard = _by_type(self.hears)
        known = {*_by_type(self.emits), *self.roots, *GATEWAY_ROOTS}
        for type_, hearers in heard.items():
            if type_ in known or type_.startswith(OWN):
                continue
            near = nearest(type_, known - heard.keys(), alike=TYPING_ERROR)
            hint = f"did you mean '{near}'?" if near else "it has to come from outside"
            message = f"no module raises '{type_}', which {_listed(hearers)} {_verb(hearers, 'hear')}; {hint}"
            severity = Severity.WARNING if near else Severity.INFO
            yield Finding(severity=severity, message=message, modules=hearers, type=type_)

    def _not_heard(self) -> Iterable[Finding]:
        heard, emitted = _by_type(self.hears), _by_type(self.emits)
        for type_, emitters in emitted.items():
            if type_ in heard:
                continue
            near = nearest(type_, heard.keys() - emitted.keys() - {*GATEWAY_ROOTS, *self.roots}, alike=TYPING_ERROR)
            hint = f"did you mean '{near}'?" if near else "it goes to outsiders only"
            message = f"no module hears '{type_}', which {_listed(emitters)} {_verb(emitters, 'raise')}; {hint}"
            yield Finding(severity=Severity.INFO, message=message, modules=emitters, type=type_)
        for type_ in self.roots:
            if type_ not in heard and type_ not in emitted:
                near = nearest(type_, heard)
                hint = f"did you mean '{near}'?" if near else "add it to a module's 'on'"
                yield Finding(severity=Severity.INFO, message=f"no module hears the root '{type_}'; {hint}", type=type_)

    def _unreachable(self) -> Iterable[Finding]:
        reached = self._reached()
        for name, types in self.hears.items():
            if name in reached:
                continue
            why = "only modules that are never started raise what it hears" if types else "it hears nothing"
            message = f"the module {name} is never started: {why}; add a type to its 'on'"
            yield Finding(severity=Severity.WARNING, message=message, modules=(name,))

    def _reached(self) -> set[str]:
        reached: set[str] = set()
        ahead = [name for type_ in self.entrances for name in self.hearers(type_)]
        following = {name: self.successors(name) for name in self.nodes}
        while ahead:
            name = ahead.pop()
            if name not in reached:
                reached.add(name)
                ahead.extend(following[name])
        return reached

    def _cycles(self) -> Iterable[Finding]:
        following = {name: self.successors(name) for name in self.nodes}
        for group in _components(following):
            if len(group) > 1 or group[0] in following[group[0]]:
                path = _cycle(group, following)
                message = (
                    f"events may go round for ever: {' → '.join((*path, path[0]))}; "
                    "jobs beyond guards.max_hops are held, but a filter or another type is better"
                )
                yield Finding(severity=Severity.WARNING, message=message, modules=group)


def _by_type(types: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Modules by event type, from event types by module."""
    found: dict[str, list[str]] = {}
    for name, listed in types.items():
        for type_ in listed:
            found.setdefault(type_, []).append(name)
    return {type_: tuple(names) for type_, names in found.items()}


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _verb(names: Sequence[str], verb: str) -> str:
    return f"{verb}s" if len(names) == 1 else verb


def _components(following: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """The strongly connected groups (Kosaraju), each in the order of the file; without recursion."""
    backwards: dict[str, list[str]] = {name: [] for name in following}
    for name, nexts in following.items():
        for other in nexts:
            backwards[other].append(name)
    group_of: dict[str, str] = {}
    for first in reversed(_finished(following)):
        ahead = [first]
        while ahead:
            name = ahead.pop()
            if name not in group_of:
                group_of[name] = first
                ahead.extend(backwards[name])
    groups: dict[str, list[str]] = {}
    for name in following:
        groups.setdefault(group_of[name], []).append(name)
    return [tuple(names) for names in groups.values()]


def _finished(following: Mapping[str, Sequence[str]]) -> list[str]:
    """The names in the order in which a depth-first walk leaves them."""
    seen: set[str] = set()
    order: list[str] = []
    for first in following:
        stack = [(first, iter(following[first]))] if first not in seen else []
        seen.add(first)
        while stack:
            name, nexts = stack[-1]
            fresh = next((other for other in nexts if other not in seen), None)
            if fresh is None:
                order.append(name)
                stack.pop()
            else:
                seen.add(fresh)
                stack.append((fresh, iter(following[fresh])))
    return order


def _cycle(group: Sequence[str], following: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """A shortest way from the group's first module back to it."""
    first, inside = group[0], set(group)
    came: dict[str, str] = {}
    ahead = [first]
    for name in ahead:
        for other in following[name]:
            if other == first:
                return _back(name, first, came)
            if other in inside and other not in came:
                came[other] = name
                ahead.append(other)
    raise AssertionError(f"{first} lies on no cycle")


def _back(last: str, first: str, came: Mapping[str, str]) -> tuple[str, ...]:
    path = [last]
    while path[-1] != first:
        path.append(came[path[-1]])
    return tuple(reversed(path))

"""The shape of a flow: which job came of which, as a tree of small nodes that fits in memory for any flow.

A job's parent is the job whose results hold the event it was started by; results are known from manifests, exactly,
also where two modules handled one event or a job was run again. Where a manifest is gone, the event tells: its
`parent_id` is the event that its producer handled, its source names the producer.

Everything here is pure. A node is a few hundred bytes; what a job produced is read again when its row is written.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import msgspec

from ion.model.job import OPEN_STATES, Job, State

GROUP_FROM = 30
"""So many children of one module under one job are folded into a group."""
PIECE = 200
"""A group that is larger is folded into pieces of so many jobs, so that opening it stays quick."""
BIG = 300
"""From so many jobs on a report begins with its groups folded from a handful on."""
HANDFUL = 6


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """What the tree needs to know of a job."""

    id: str
    module: str
    state: State
    event: str
    parent_event: str
    source: str
    subject: str
    begins: datetime | None
    ends: datetime | None


def node(job: Job, now: datetime) -> Node:
    """The node of a job; one that is still open reaches until now.

    A gateway's job ended, by the gateway's clock, before it was admitted by the ledger's.
    """
    begins = job.admitted_at or job.started_at
    ends = now if job.state in OPEN_STATES else job.ended_at or begins
    return Node(
        id=job.id,
        module=job.module,
        state=job.state,
        event=job.event.id,
        parent_event=job.event.parent_id,
        source=job.event.source,
        subject=job.event.subject,
        begins=begins,
        ends=max(begins, ends) if begins and ends else begins,
    )


class Tree:
    """Roots and children in the order of admission."""

    def __init__(self, nodes: Sequence[Node], produced: dict[str, str]) -> None:
        """`produced` maps the id of an event to the job whose results hold it."""
        self.nodes = {node.id: node for node in nodes}
        self.children: dict[str, list[Node]] = {}
        self.roots: list[Node] = []
        handlers: dict[str, list[Node]] = {}
        for one in nodes:
            handlers.setdefault(one.event, []).append(one)
        for one in nodes:
            parent = _parent(one, produced, handlers)
            (self.children.setdefault(parent, []) if parent in self.nodes else self.roots).append(one)
        self._adopt_unreached()

    def _adopt_unreached(self) -> None:
        """Jobs in a ring (events can be forged from outside) hang from no root; one of each ring becomes one."""
        seen: set[str] = set()
        for root in self.roots:
            self._reach(root.id, seen)
        for one in self.nodes.values():
            if one.id not in seen:
                for siblings in self.children.values():
                    siblings[:] = [sibling for sibling in siblings if sibling.id != one.id]
                self.roots.append(one)
                self._reach(one.id, seen)

    def _reach(self, job: str, seen: set[str]) -> None:
        stack = [job]
        while stack:
            current = stack.pop()
            if current not in seen:
                seen.add(current)
                stack.extend(child.id for child in self.children.get(current, ()))

    def groups(self, job: str | None) -> Iterator[list[Node]]:
        """The children of a job (None: the roots) as they are shown: a list of one stands by itself, a longer one is
        folded.
        """
        siblings = self.roots if job is None else self.children.get(job, [])
        most = HANDFUL if len(self.nodes) >= BIG else GROUP_FROM
        for alike in by_module(siblings):
            if len(alike) < most:
                yield from ([one] for one in alike)
            else:
                yield alike

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """When the flow's first job began and its last one ended, as far as it is known."""
        begins = [one.begins for one in self.nodes.values() if one.begins]
        ends = [one.ends for one in self.nodes.values() if one.ends]
        return (min(begins), max(ends)) if begins else None

    def states(self) -> Counter[State]:
        return Counter(one.state for one in self.nodes.values())


def _parent(one: Node, produced: dict[str, str], handlers: dict[str, list[Node]]) -> str:
    """The id of the job that raised the node's event, or an empty text."""
    maker = produced.get(one.event, "")
    if maker:
        return maker if maker != one.id else ""
    candidates = [other for other in handlers.get(one.parent_event, ()) if other.id != one.id]
    named = [other for other in candidates if one.source.endswith(f"/{other.module}")]
    return next((other.id for other in named or candidates), "")


def by_module(nodes: Iterable[Node]) -> list[list[Node]]:
    """The nodes by module, each in their order."""
    groups: dict[str, list[Node]] = {}
    for one in nodes:
        groups.setdefault(one.module, []).append(one)
    return list(groups.values())


def pieces(group: Sequence[Node]) -> list[Sequence[Node]]:
    """A large group cut into pieces."""
    return [group[start : start + PIECE] for start in range(0, len(group), PIECE)]

"""A flow's jobs as a Mermaid flowchart, written as they come; its text shows in Markdown on most forges.

Modules' names, types and subjects are foreign text. In a quoted label Mermaid understands entities and a little HTML,
so whatever is not a letter, a digit or harmless becomes an entity, written `#NUMBER;` there.
"""

from collections.abc import AsyncIterator

from ion.cli.output import SUBJECT_MOST, plain, short
from ion.management.verbs.flows import TreeLine
from ion.model.job import Job, State

COLOURS = {
    State.WAITING: "fill:#eceff1,stroke:#90a4ae,color:#263238",
    State.RUNNING: "fill:#fff8e1,stroke:#ffb300,color:#263238",
    State.COMMITTED: "fill:#e0f2f1,stroke:#26a69a,color:#263238",
    State.RELEASED: "fill:#e8f5e9,stroke:#43a047,color:#263238",
    State.DEAD: "fill:#ffebee,stroke:#e53935,color:#263238",
    State.CANCELLED: "fill:#fbe9e7,stroke:#bf360c,color:#263238",
}
HARMLESS = frozenset(" .,-_/:()")


def quoted(text: str) -> str:
    """Foreign text as the inside of a quoted label."""
    return "".join(c if c.isalnum() or c in HARMLESS else f"#{ord(c)};" for c in plain(text))


async def flowchart(tree: AsyncIterator[TreeLine]) -> AsyncIterator[str]:
    """The lines of the chart: a box a job, an arrow from the job that raised its event, named by the event's type."""
    yield "flowchart LR"
    for state, style in COLOURS.items():
        yield f"  classDef {state} {style}"
    async for line in tree:
        job = line.job
        colour = f":::{job.state}" if job.state in COLOURS else ""
        yield f'  {_node(job.id)}["{_label(job)}"]{colour}'
        if line.parent:
            yield f'  {_node(line.parent)} -->|"{quoted(job.event.type)}"| {_node(job.id)}'


def _node(job: str) -> str:
    """Ids are hexadecimal with dashes; a node's name begins with a letter and has none."""
    return "j" + "".join(c for c in job if c.isascii() and c.isalnum())


def _label(job: Job) -> str:
    about = plain(job.event.subject, SUBJECT_MOST)
    words = [plain(job.module), f"{short(job.id)} {job.state}", about]
    return "<br>".join(quoted(word) for word in words if word)

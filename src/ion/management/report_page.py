"""The look of a flow report: pieces of HTML, each a pure function of what it shows.

One self-contained page that works from a file and from nowhere else: its own style and script, named by hash in a
content security policy that forbids all others, and not one request. It reads without the script too, which only adds
searching, unfolding and larger pictures. Times are drawn as SVG, since the policy allows no style in attributes.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from importlib import resources

from ion.management.report_scale import WIDTH, Scale, bar, rect
from ion.management.report_text import duration, listed, many, moment, seconds_between, text
from ion.management.report_tree import Node
from ion.model.job import OPEN_STATES, State


def _piece(name: str) -> str:
    return resources.files("ion.management").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def opening(title: str) -> str:
    """The page up to its content."""
    style, script = _piece("report.css"), _piece("report.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{text(title)}</title>\n<style>{style}</style></head>\n<body><main>\n"
    )


def closing(made_at: datetime) -> str:
    return (
        f"<footer>Written by Ion at {moment(made_at)}. Pictures and the ends of logs are inside this page; other files "
        "are links into the store.</footer>\n</main>\n"
        '<dialog id="large"><form method="dialog"><button>Close</button></form>'
        '<figure><img alt=""><figcaption></figcaption></figure></dialog>\n'
        f"<script>{_piece('report.js')}</script></body></html>\n"
    )


def heading(
    title: str, flow: str, span: tuple[datetime, datetime] | None, states: Counter[State], *, hidden: int
) -> str:
    """What the flow is, when it was, how it stands."""
    total = states.total()
    verb = "open for" if any(states[state] for state in OPEN_STATES) else "took"
    when = f"{moment(span[0])} · {verb} {duration(seconds_between(*span))} · " if span else ""
    chips = "".join(f'<li class="{state}"><b>{states[state]:,}</b> {state}</li>' for state in State if states[state])
    left, drawn = 0.0, ""
    for state in State:
        share = WIDTH * states[state] / total
        drawn += f'<rect class="{state}" x="{left:.1f}" width="{share:.1f}" height="8"/>' if share else ""
        left += share
    note = f'<p class="quiet">{many(hidden, "job")} of earlier runs, superseded since, not shown.</p>' if hidden else ""
    return (
        f'<header><p class="kind">Ion flow</p><h1>{text(title, 200)}</h1>'
        f'<p class="quiet">{when}{many(total, "job")} · <code>{text(flow)}</code></p>'
        f'<ul class="chips">{chips}</ul>'
        f'<svg class="share" viewBox="0 0 {WIDTH} 8" preserveAspectRatio="none" aria-hidden="true">{drawn}</svg>'
        f"{note}</header>\n"
    )


def modules_table(modules: Sequence[tuple[str, Counter[State], float, float]], scale: Scale) -> str:
    """A line a module: its jobs, how they stand, seconds at work in all and the longest."""
    lines = "".join(
        f'<tr><th scope="row"><i class="h{scale.hues[name]}"></i>{text(name, 60)}</th><td>{states.total():,}</td>'
        f"<td>{listed(states)}</td><td>{duration(work_s)}</td><td>{duration(longest_s)}</td></tr>"
        for name, states, work_s, longest_s in modules
    )
    return (
        '<section aria-labelledby="modules"><h2 id="modules">Modules</h2><div class="wide"><table><thead><tr>'
        '<th scope="col">Module</th><th scope="col">Jobs</th><th scope="col">State</th><th scope="col">At work</th>'
        f'<th scope="col">Longest</th></tr></thead><tbody>{lines}</tbody></table></div></section>\n'
    )


def failures(dead: Sequence[tuple[Node, str]], more: int) -> str:
    """The dead jobs first: what people look for."""
    if not dead:
        return ""
    lines = "".join(
        f'<li><a href="#j-{text(one.id)}"><b>{text(one.module, 60)}</b> {text(one.subject, 120)}</a>'
        f"<p>{text(message, 600)}</p></li>"
        for one, message in dead
    )
    rest = f'<p class="quiet">… and {many(more, "more job")}.</p>' if more else ""
    title = '<h2 id="failed">Failed</h2>'
    return f'<section aria-labelledby="failed">{title}<ul class="failed">{lines}</ul>{rest}</section>\n'


def tree_opening(scale: Scale) -> str:
    ticks = "".join(f"<span>{duration(scale.seconds * quarter / 4)}</span>" for quarter in range(4))
    return (
        '<section aria-labelledby="jobs"><div class="bar-top"><h2 id="jobs">Jobs</h2><div class="tools" hidden>'
        '<input type="search" id="find" placeholder="Find a module, subject, state …" aria-label="Find jobs">'
        '<button type="button" id="unfold">Unfold all</button><button type="button" id="fold">Fold all</button></div>'
        f'</div><div class="axis" aria-hidden="true"><div>{ticks}</div></div><ul class="tree">\n'
    )


TREE_CLOSING = "</ul></section>\n"


def group_opening(title: str, nodes: Sequence[Node], scale: Scale) -> str:
    """A fold of many alike jobs, with the time they span."""
    begins = [one.begins for one in nodes if one.begins]
    ends = [one.ends for one in nodes if one.ends]
    drawn = ""
    if begins and ends:
        drawn = rect(scale, min(begins), max(ends), f"run h{scale.hues[nodes[0].module]}")
    states = Counter(one.state for one in nodes)
    return (
        '<li class="group"><details><summary class="row"><span class="what">'
        f'<span class="line"><b>{text(title, 80)}</b><span class="subject">{listed(states)}</span></span></span>'
        f'{bar(drawn)}<span class="took">{many(len(nodes), "job")}</span></summary><ul>\n'
    )


GROUP_CLOSING = "</ul></details></li>\n"

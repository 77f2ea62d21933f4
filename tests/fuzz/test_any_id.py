"""Identities: the same cause always has the same id, and two causes never share one, however alike they are written."""

import re
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.profile import examples

from ion.model import ids
from ion.model.module import Module, Mount, Resources, Retries, Subscription, revise

CANONICAL = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

texts = st.text(st.sampled_from('ab01,:"[]\\/- \n\0{}é😀'), max_size=6) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=20
)
"""Mostly of letters that separate or quote, so that two causes often look alike when they are written in a row."""

Cause = tuple[Any, ...]
FUNCTIONS: dict[str, Callable[..., str]] = {
    "foreign": ids.foreign_event_id,
    "job": ids.job_id,
    "root": ids.root_job_id,
    "output": ids.output_event_id,
}
causes: st.SearchStrategy[Cause] = st.tuples(st.sampled_from(["foreign", "root", "output"]), texts, texts) | st.tuples(
    st.just("job"), texts, texts, st.integers(0, 3)
)


def identity(cause: Cause) -> str:
    kind, *parts = cause
    return FUNCTIONS[kind](*parts)


@examples(400)
@given(causes, causes)
def test_two_causes_share_an_id_only_if_they_are_one(one: Cause, other: Cause) -> None:
    """Events, jobs of modules, root jobs and outputs: the ids are equal where the causes are, and nowhere else."""
    assert (identity(one) == identity(other)) == (one == other)
    assert ids.is_uuid(identity(one))


@examples(200)
@given(st.sampled_from(sorted(FUNCTIONS)), texts, texts)
def test_the_order_of_a_causes_parts_counts(kind: str, one: str, other: str) -> None:
    """An event of a module is not a module of an event."""
    assert (identity((kind, one, other)) == identity((kind, other, one))) == (one == other)


@examples(200)
@given(st.sampled_from(sorted(FUNCTIONS)), texts, st.data())
def test_no_letter_can_move_from_one_part_to_the_next(kind: str, text: str, data: st.DataObject) -> None:
    """Cut at two places, one text makes two causes: no separator within it can stand for the one between."""
    first, second = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))
    left, right = (identity((kind, text[:at], text[at:])) for at in (first, second))
    assert (left == right) == (first == second)


@examples(200)
@given(texts, texts, st.sets(st.integers(0, 10_000), min_size=2, max_size=20))
def test_every_run_of_a_job_has_its_own_id(event: str, module: str, runs: set[int]) -> None:
    """A new run is a new job, whose outputs are new events; run 0 is what a delivery means."""
    jobs = {ids.job_id(event, module, run) for run in runs}
    assert len(jobs) == len(runs)
    assert len({ids.output_event_id(job, "a.json") for job in jobs}) == len(runs)
    assert ids.job_id(event, module) == ids.job_id(event, module, 0)


@examples(300)
@given(st.uuids().map(str) | texts, st.sampled_from(["{}", "{{{}}}", "urn:uuid:{}", " {}", "{}\n", "{}0"]))
def test_only_canonical_text_is_a_uuid(text: str, form: str) -> None:
    """What other readers take for a UUID too (braces, capitals, blanks) is a foreign id, and no text fails."""
    for written in (form.format(text), text.upper(), text.replace("-", "")):
        assert ids.is_uuid(written) == bool(CANONICAL.fullmatch(written))


names = st.text("ab-", min_size=1, max_size=3)
modules = st.builds(
    Module,
    name=names,
    pipeline=names | st.just(""),
    on=st.lists(st.builds(Subscription, type=names), max_size=2).map(tuple),
    emits=st.lists(names, max_size=2).map(tuple),
    command=st.lists(names, max_size=2).map(tuple),
    env=st.dictionaries(names, names, max_size=3),
    secrets=st.dictionaries(names, names, max_size=2),
    mounts=st.lists(st.builds(Mount, source=names, path=names), max_size=1).map(tuple),
    resources=st.builds(Resources, cpu=st.sampled_from([0.0, 0.5, 2.0]), gpu=st.integers(0, 1)),
    retries=st.builds(Retries, module=st.integers(0, 2), lost=st.integers(0, 2)),
    timeout_s=st.sampled_from([1.0, 3600.0]),
)


@examples(200)
@given(modules, modules, st.sampled_from(["", "sha256:a"]), st.sampled_from(["", "sha256:a"]))
def test_a_revision_is_known_by_its_whole_configuration(one: Module, other: Module, image: str, newer: str) -> None:
    """Two revisions have one id exactly if module and image are equal; the order of a mapping's keys does not count."""
    assert (revise(one, image).id == revise(other, newer).id) == ((one, image) == (other, newer))
    turned = Module(**{name: getattr(one, name) for name in one.__struct_fields__} | {"env": _turned(one.env)})
    assert revise(turned, image).id == revise(one, image).id


def _turned(mapping: dict[str, str]) -> dict[str, str]:
    return dict(reversed(mapping.items()))

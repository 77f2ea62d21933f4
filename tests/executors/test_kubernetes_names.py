"""Names and labels of what belongs to attempts in a cluster."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.adapters.executors.kubernetes import names
from ion.adapters.executors.kubernetes.fit import SUBDOMAIN_MOST
from ion.model.event import Event, utc_now
from ion.model.job import Job
from ion.ports.executor import Handle

TEXTS = st.text(max_size=300) | st.from_regex(r"[a-z0-9.A-Z_-]{0,80}", fullmatch=True)
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
ID = "6c84fb90-12c4-51e0-a7a5-5d9ca9b0f2f6"


def job(id_: str = ID, *, attempt: int = 1, module: str = "detect", flow: str = "flow-1") -> Job:
    event = Event(id="e", type="photo", source="s", correlation_id=flow, parent_id="p", time=utc_now())
    return Job(id=id_, module=module, attempt=attempt, event=event)


@given(TEXTS)
def test_any_text_becomes_a_label_value(text: str) -> None:
    """As Kubernetes defines one; what is one already is kept."""
    made = names.label_value(text)
    assert VALUE.fullmatch(made)
    assert (made == text) == bool(VALUE.fullmatch(text))


@given(TEXTS, st.integers(12, 63))
def test_any_text_becomes_a_name_of_no_more_than_so_many_characters(text: str, most: int) -> None:
    """An RFC 1123 label; what is one already is kept."""
    made = names.dns_label(text, most)
    assert LABEL.fullmatch(made)
    assert len(made) <= most
    assert (made == text) == (len(text) <= most and bool(LABEL.fullmatch(text)))


@given(TEXTS, st.integers(1, 10**9))
def test_a_job_of_any_id_and_attempt_has_a_name_that_its_pods_can_carry(id_: str, attempt: int) -> None:
    """The Job's name is a label of its pods, so it has no more than 63 characters."""
    assert LABEL.fullmatch(names.job_name(id_, attempt))


@given(st.tuples(TEXTS, st.integers(1, 99)), st.tuples(TEXTS, st.integers(1, 99)))
def test_two_attempts_never_share_a_name(one: tuple[str, int], other: tuple[str, int]) -> None:
    """Cutting and replacing characters is made up for by a piece of the hash."""
    assert (names.job_name(*one) == names.job_name(*other)) == (one == other)


@given(TEXTS, TEXTS)
def test_two_modules_never_share_a_config_map(one: str, other: str) -> None:
    """Whatever they are called, the names are fit and differ."""
    first, second = names.module_config(one), names.module_config(other)
    assert SUBDOMAIN.fullmatch(first)
    assert len(first) <= SUBDOMAIN_MOST
    assert (first == second) == (one == other)


def test_a_name_that_is_fit_can_be_read() -> None:
    """A UUID and an attempt; the pipeline's name and the module's."""
    assert names.job_name(ID, 12) == f"ion-{ID}-12"
    assert names.module_config("media_detect") == "ion-module-media.detect"
    assert names.module_config("detect") == "ion-module-detect"


def test_pipelines_and_modules_that_look_alike_are_told_apart() -> None:
    """The dash of a name is not the underscore between two."""
    assert names.module_config("a-b_c") != names.module_config("a_b-c")


def test_labels_name_the_attempt_and_are_those_of_the_original_too() -> None:
    """A person selects by them, and so does the executor."""
    assert names.job_labels(job(attempt=3), "ion") == {
        "app.kubernetes.io/name": "ion",
        "app.kubernetes.io/component": "job",
        "app.kubernetes.io/managed-by": "ion-dispatcher",
        "app.kubernetes.io/instance": "ion",
        "ion.dev/job": ID,
        "ion.dev/attempt": "3",
        "ion.dev/module": "detect",
        "ion.dev/correlation-id": "flow-1",
        "createdBy": "ion",
        "moduleName": "detect",
        "id": ID,
    }


def test_a_correlation_id_that_no_label_can_have_is_left_out() -> None:
    """A piece of it would find the wrong jobs."""
    assert "ion.dev/correlation-id" not in names.job_labels(job(flow="a flow of ünicode"), "ion")


def test_labels_lead_back_to_the_attempt() -> None:
    """What they were made of is found again."""
    labels = names.job_labels(job(attempt=2), "ion")
    assert names.handle_of(labels, "media") == Handle(scope="media", job=ID, attempt=2)


@pytest.mark.parametrize("labels", [{}, {"ion.dev/job": ID}, {"ion.dev/job": ID, "ion.dev/attempt": "x"}])
def test_labels_of_something_else_lead_nowhere(labels: dict[str, str]) -> None:
    """Somebody may have made a pod that looks like one of Ion's."""
    assert names.handle_of(labels, "media") is None


def test_a_selector_asks_for_every_label() -> None:
    """In the form that the API and kubectl take."""
    assert names.selector({"a": "1", "b.c/d": "x"}) == "a=1,b.c/d=x"

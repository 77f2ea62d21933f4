"""Event types and groups as subjects and consumers: every name is taken or refused, and no two become one."""

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ion.adapters.bus.nats_names import consumer_of, consumers_of, subject_of
from ion.errors import InvalidError
from ion.messaging.codec import valid_type

TYPES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(valid_type)
AWKWARD = st.text(".*>=~ /aA2é", max_size=8)
GROUPS = st.text(min_size=1, max_size=16).filter(lambda group: not re.search("[\ud800-\udfff]", group))


@given(TYPES | AWKWARD.filter(valid_type))
@example("photo.taken")
@example("..")
@example("🜁" * 255)
def test_a_type_becomes_a_subject_that_nats_takes(topic: str) -> None:
    """Below the prefix, in plain letters, without empty tokens and wildcards."""
    subject = subject_of("ion", topic)
    assert re.fullmatch(r"ion(\.[A-Za-z0-9_:/+@=-]+)+", subject)
    assert len(subject) < 4000  # of the 4096 of a line


@given(TYPES | AWKWARD.filter(valid_type), TYPES | AWKWARD.filter(valid_type))
@example("a..b", "a.=.b")
@example("a.*", "a.=2A")
@example("é", "=C3=A9")
def test_no_two_types_have_one_subject(one: str, other: str) -> None:
    """Escapes cannot be mistaken for what somebody wrote."""
    assert (subject_of("ion", one) == subject_of("ion", other)) == (one == other)


def test_a_plain_type_is_its_own_subject() -> None:
    """An outsider finds `photo.taken` where it would look for it."""
    assert subject_of("ion", "com.acme.photo-taken_2") == "ion.com.acme.photo-taken_2"


@pytest.mark.parametrize("topic", ["", "a b", "a\n", "x" * 256, "\ud800"])
def test_what_no_event_can_be_is_no_topic(topic: str) -> None:
    """The codec's rule for types is the bus's."""
    with pytest.raises(InvalidError, match="event type"):
        subject_of("ion", topic)


@given(GROUPS, GROUPS, TYPES, TYPES)
@example("a", "a~", "t", "t")
@example("a", "a-b", "t", "t")
def test_no_two_groups_or_topics_have_one_consumer(one: str, other: str, topic: str, second: str) -> None:
    """Nor does a group's beginning fit another's consumers."""
    assert (consumer_of(one, topic) == consumer_of(other, topic)) == (one == other)
    assert (consumer_of(one, topic) == consumer_of(one, second)) == (topic == second)
    assert consumer_of(other, topic).startswith(consumers_of(one)) == (one == other)


@given(GROUPS)
def test_a_group_becomes_a_name_that_nats_takes(group: str) -> None:
    """In letters, digits and four signs, 255 at most."""
    name = consumer_of(group, "photo")
    assert set(name) <= set(string.ascii_letters + string.digits + "-_=~")
    assert len(name) <= 255


@pytest.mark.parametrize("group", ["", "x" * 201, "🜁" * 17, "\ud800"])
def test_a_group_without_a_name_is_refused(group: str) -> None:
    """In one sentence, before a server is asked."""
    with pytest.raises(InvalidError, match="cannot be a consumer"):
        consumer_of(group, "photo")

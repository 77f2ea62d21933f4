"""Names of topics and subscriptions: within Azure's bounds, and never one for two."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.adapters.bus.servicebus_names import SUBSCRIPTION_MOST, TOPIC_MOST, subscription_name, topic_name
from ion.errors import InvalidError
from ion.messaging.codec import valid_type

ALLOWED = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
NEAR = st.text(alphabet="aAäÄ.-_/0\u017f", min_size=1, max_size=8)
TYPES = (st.text(min_size=1, max_size=255) | NEAR | st.text(alphabet=string.ascii_lowercase + "._-")).filter(valid_type)
PREFIXES = st.sampled_from(["", "ion-", "a" * 50])


@given(TYPES, PREFIXES)
def test_any_event_type_has_a_topic(event_type: str, prefix: str) -> None:
    """Within the bounds of length and alphabet, and the same name each time."""
    name = topic_name(prefix, event_type)
    assert len(name) <= TOPIC_MOST
    assert ALLOWED.fullmatch(name)
    assert name == topic_name(prefix, event_type)


@given(TYPES, TYPES, PREFIXES)
def test_no_two_event_types_share_a_topic(one: str, two: str, prefix: str) -> None:
    """Though Azure takes capital and small letters for the same."""
    assert (topic_name(prefix, one) == topic_name(prefix, two)) == (one == two)


@given(TYPES, PREFIXES)
def test_a_name_that_was_made_up_is_no_other_types_own(event_type: str, prefix: str) -> None:
    """An event type that reads like a hashed name is hashed itself."""
    name = topic_name(prefix, event_type)
    if name != prefix + event_type and valid_type(name):
        assert topic_name("", name) != name or prefix


@given(TYPES, st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_no_two_groups_of_a_topic_share_a_subscription(event_type: str, one: str, two: str) -> None:
    """Within the bounds, whatever the groups are called."""
    names = [subscription_name(event_type, group) for group in (one, two)]
    assert all(len(name) <= SUBSCRIPTION_MOST and ALLOWED.fullmatch(name) for name in names)
    assert (names[0] == names[1]) == (one == two)


def test_names_stay_readable() -> None:
    """Plain ones are as in the original, the others keep what tells a person most."""
    assert topic_name("", "frontapi.new_link") == "frontapi.new_link"
    assert topic_name("ion-", "Photo") == "ion-photo--" + topic_name("", "Photo").rpartition("-")[2]
    assert subscription_name("face_detected", "media_crop") == "face_detected_media_crop"
    assert subscription_name("a" * 50, "media_crop").startswith("a" * 17 + "_media_crop--")


def test_a_group_without_a_name_is_refused() -> None:
    """With one sentence."""
    with pytest.raises(InvalidError, match="needs a name"):
        subscription_name("photo", "")

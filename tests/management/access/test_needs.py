"""The table of what each verb needs."""

import pytest

from ion.management.access.around import verbs
from ion.management.access.needs import NEEDS, Reach, need
from ion.model.role import Role


def test_every_verb_is_in_the_table() -> None:
    """And nothing else is: whoever adds a verb has to say what it needs."""
    assert set(NEEDS) == verbs()


def test_a_verb_that_is_not_in_the_table_needs_all() -> None:
    """So that one which is forgotten is shut, not open."""
    assert need("jobs.explode", {}) == (Role.ADMIN, Reach.WHOLE, True)


@pytest.mark.parametrize(("verb", "role"), [
    ("jobs.show", Role.VIEWER), ("server.trail", Role.VIEWER), ("jobs.retry", Role.OPERATOR),
    ("jobs.cancel", Role.OPERATOR), ("flows.control", Role.OPERATOR), ("modules.pause", Role.OPERATOR),
    ("letters.redrive", Role.OPERATOR), ("events.create", Role.OPERATOR), ("modules.scale", Role.OPERATOR),
    ("modules.apply", Role.ADMIN), ("modules.delete", Role.ADMIN), ("modules.rollback", Role.ADMIN),
    ("server.collect", Role.ADMIN),
])  # fmt: skip
def test_verbs_need_the_role_that_was_promised(verb: str, role: Role) -> None:
    """A viewer reads, an operator keeps things going, an admin changes what there is."""
    assert need(verb, {}).role is role


@pytest.mark.parametrize(("verb", "arguments", "role", "changes"), [
    ("modules.apply", {"dry": True}, Role.VIEWER, False),
    ("letters.redrive", {"image": "detect:2"}, Role.ADMIN, True),
    ("events.next", {"take": False}, Role.VIEWER, False),
    ("events.next", {"take": True}, Role.OPERATOR, True),
])  # fmt: skip
def test_arguments_may_change_what_a_verb_needs(
    verb: str, arguments: dict[str, object], role: Role, changes: bool
) -> None:
    """To be told what would be done is a look; another image is another module; a taken event is gone."""
    assert need(verb, arguments)[::2] == (role, changes)


def test_each_role_covers_those_below_it() -> None:
    """In the order viewer, operator, admin."""
    assert [[one.covers(other) for other in Role] for one in Role] == [
        [True, False, False], [True, True, False], [True, True, True],
    ]  # fmt: skip

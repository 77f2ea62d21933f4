"""Who may do what: roles, and to which certificates they are given."""

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """In rising order: each may do what those before it may.

    A viewer reads. An operator retries, cancels, pauses, redrives, raises events and scales. An admin applies, deletes
    and rolls back modules, and has what nobody needs deleted.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        """Whether who has this role may do what needs that one."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A role for the certificates whose subject fits, in some pipelines only where any are named.

    `subject` lists attributes, each of which must be in the certificate's subject: `CN=alice,O=acme`. `*` stands for
    any text within one value, a comma in a value has a backslash before it, and a text without `=` is a common name.
    """

    subject: str
    role: Role
    pipelines: tuple[str, ...] = ()

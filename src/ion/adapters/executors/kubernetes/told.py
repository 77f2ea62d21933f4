"""What the handler says when a container of its ends: JSON in the container's termination message.

It may be cut or missing, for the container may have been killed, so whatever cannot be read says nothing.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from ion.model.job import Failure, FailureClass
from ion.model.told import Told


def told(terminated: Mapping[str, Any]) -> Told:
    """What a container's `terminated` state says in its message."""
    try:
        return msgspec.json.decode(str(terminated.get("message", "")), type=Told)
    except msgspec.DecodeError:  # nothing, or no whole document; also of another shape
        return Told()


def failure_told(terminated: Mapping[str, Any]) -> Failure | None:
    """How it failed by its own word; None if it does not say."""
    said = told(terminated).failure
    if said is None:
        return None
    known = {kind.value: kind for kind in FailureClass}
    return Failure(kind=known.get(said.kind, FailureClass.INFRASTRUCTURE), message=said.message)

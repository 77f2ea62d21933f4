"""Where a call of the API comes in: who it is, and the verbs as that caller may use them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ion.management.access.callers import Callers
from ion.management.access.gate import guarded
from ion.management.access.record import recorded
from ion.management.verbs import Management
from ion.ports.ledger import Ledger

if TYPE_CHECKING:
    import grpc.aio

_CERTIFICATE = "x509_pem_cert"


class Door:
    """Gives each call the verbs. `make` makes them for the name of whom changes are by."""

    def __init__(self, callers: Callers, ledger: Ledger, make: Callable[[str], Management]) -> None:
        self._callers, self._ledger, self._make = callers, ledger, make

    def __call__(self, context: "grpc.aio.ServicerContext[Any, Any]") -> Management:
        found = context.auth_context().get(_CERTIFICATE)
        caller = self._callers.caller(_bytes(found), peer_of(context.peer()))
        allowed = guarded(self._make(caller.actor), caller, self._ledger)
        return recorded(allowed, caller, self._ledger)


def _bytes(found: Any) -> bytes | None:
    return bytes(next(iter(found))) if found else None


def peer_of(told: str) -> str:
    """An address with its port as people write it, from gRPC's `ipv6:%5B::1%5D:4711`."""
    return unquote(told).removeprefix("ipv4:").removeprefix("ipv6:")

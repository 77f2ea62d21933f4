"""Where a call of the API comes in: who it is, and the verbs as that caller may use them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ion.management.access.callers import Caller, Callers, neighbour
from ion.management.access.gate import guarded
from ion.management.access.neighbour import Address
from ion.management.access.record import recorded
from ion.management.verbs import Management
from ion.ports.ledger import Ledger

if TYPE_CHECKING:
    import grpc.aio

_CERTIFICATE = "x509_pem_cert"


class Door:
    """Gives each call the verbs. `make` makes them for the name of whom changes are by; `callers` is None without TLS.

    `address` is where the server listens, to be set before the first call.
    """

    def __init__(self, callers: Callers | None, ledger: Ledger, make: Callable[[str], Management]) -> None:
        self._callers, self._ledger, self._make = callers, ledger, make
        self.address: Address = ("", 0)

    def __call__(self, context: "grpc.aio.ServicerContext[Any, Any]") -> Management:
        caller = self._caller(context)
        allowed = guarded(self._make(caller.actor), caller, self._ledger)
        return recorded(allowed, caller, self._ledger)

    def _caller(self, context: "grpc.aio.ServicerContext[Any, Any]") -> Caller:
        peer = peer_of(context.peer())
        if self._callers is None:
            host, _, port = peer.rpartition(":")
            return neighbour((host.strip("[]"), int(port)), self.address, peer)
        (pem,) = context.auth_context()[_CERTIFICATE]  # without one there is no connection
        return self._callers.caller(bytes(pem), peer)


def peer_of(told: str) -> str:
    """An address with its port as people write it, from gRPC's `ipv6:%5B::1%5D:4711`."""
    return unquote(told).removeprefix("ipv4:").removeprefix("ipv6:")

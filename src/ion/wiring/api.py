"""The management API of an open store: from settings to a server."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ion.config.addresses import EVERYWHERE, LOOPBACK, is_loopback
from ion.config.settings import Served
from ion.dispatcher.stores import Stores
from ion.errors import InvalidError
from ion.management.access.callers import Callers
from ion.management.access.door import Door
from ion.management.access.material import Files, Material
from ion.management.access.revoked import Revoked
from ion.management.verbs import Management
from ion.model.retention import Retention

if TYPE_CHECKING:
    import grpc.aio

    from ion.management.control.control import Control

REVOKED = "revoked.pem"


class Safety(msgspec.Struct, frozen=True, kw_only=True):
    """Where the API may be bound, and how callers are told apart; checked before anything is opened."""

    host: str
    material: Material | None
    callers: Callers | None


def safety(served: Served) -> Safety:
    """What the settings make safe.

    Raises:
        InvalidError: the files of TLS are not all there or cannot be used, or without them the address could be reached
            from elsewhere.
    """
    files = {"certificate": served.certificate, "key": served.key, "ca": served.ca}
    missing = [name for name, path in files.items() if not path]
    if 0 < len(missing) < len(files):
        raise InvalidError(f"TLS needs certificate, key and ca together, and {', '.join(missing)} is not given: add it")
    host = served.host or (LOOPBACK if missing else EVERYWHERE)
    if missing and not is_loopback(host):
        raise InvalidError(
            f"without TLS the management API would be open to anyone on {host}: give it a certificate, its key and a "
            "CA (`ion certs init` makes them), or let it be bound to loopback"
        )
    if missing:
        return Safety(host=_literal(host), material=None, callers=None)
    material = Material(Files(Path(served.certificate), Path(served.key), Path(served.ca)))
    return Safety(host=host, material=material, callers=Callers(served.roles, _revoked(served)))


def _revoked(served: Served) -> Revoked:
    """The list that is named, else the one that `ion certs` keeps beside the CA's certificate, once it is there."""
    if served.revoked:
        return Revoked(Path(served.revoked))
    return Revoked(Path(served.ca).with_name(REVOKED), needed=False)


def _literal(host: str) -> str:
    """Loopback as an address: one of the two, so that it is known to which a client has come."""
    return LOOPBACK if host == "localhost" else host


@asynccontextmanager
async def serving_api(
    stores: Stores,
    safety: Safety,
    *,
    port: int,
    store: Path,
    retention: Retention,
    control: "Control | None" = None,
    interceptors: "Sequence[grpc.aio.ServerInterceptor]" = (),
) -> AsyncGenerator[int]:
    """Serves the API while the context is open; gives its port.

    Raises:
        UnavailableError: the port is taken.
    """
    from ion.management.local import LocalManagement
    from ion.management.rpc.serve import serving

    def make(actor: str) -> Management:
        return LocalManagement(
            stores, actor=actor, work=store / "work", retention=retention, place=str(store), control=control
        )

    door = Door(safety.callers, stores.ledger, make)
    served = serving(
        door,
        host=safety.host,
        port=port,
        credentials=safety.material.credentials() if safety.material else None,
        interceptors=interceptors,
        spool=store / "spool",
    )
    async with served as bound:
        door.address = (safety.host, bound)
        yield bound

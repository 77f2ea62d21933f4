"""The management API and the page for Prometheus, for `ion up` and `ion management start`."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ion.cli.extras import has_packages
from ion.config.settings import Served
from ion.errors import InvalidError, UnavailableError
from ion.model.retention import Retention

if TYPE_CHECKING:  # heavy, and an extra
    from ion.dispatcher.stores import Stores
    from ion.management.control.control import Control
    from ion.management.metrics.counts import Counts

PACKAGES = ("grpc", "grpc_health", "grpc_reflection", "cryptography", "prometheus_client")
OFF = "off"
PORT_MOST = 65_535
_WHO = {"port": "the management API", "metrics_port": "the page for Prometheus"}


def port_or_off(text: str) -> int:
    """A port, or -1 for `off`: None is for what was not said."""
    if text == OFF:
        return -1
    if not (text.isascii() and text.isdigit() and int(text) <= PORT_MOST):
        raise InvalidError(f"'{text}' is no port: write a number up to {PORT_MOST}, 0 for a free one, or off")
    return int(text)


def with_ports(served: Served, port: int | None, metrics_port: int | None) -> Served:
    """The settings with what was said on the command line."""
    said = {"port": port, "metrics_port": metrics_port}
    changed = {name: None if value == -1 else value for name, value in said.items() if value is not None}
    return msgspec.structs.replace(served, **changed)


class Api:
    """What is to be served of a store. Raises InvalidError at once if the settings are not safe.

    `counts` are of what this process does; None where nothing is served, or the packages are not here. `tell` gets the
    lines that say where it is served. What is not in `asked` is done without, with such a line, if its port is taken.
    """

    def __init__(
        self, served: Served, store: Path, retention: Retention, *, tell: Callable[[str], None], asked: frozenset[str]
    ) -> None:
        self._served, self._store, self._retention = served, store, retention
        self._tell, self._asked = tell, asked
        self.counts: Counts | None = None
        self._wanted = served.port is not None or served.metrics_port is not None
        self._here = self._wanted and has_packages(*PACKAGES)
        if not self._here:
            return
        from ion.management.metrics import counts
        from ion.wiring.api import safety

        self._safety = safety(served) if served.port is not None else None
        self.counts = counts.Counts()

    def check_ports(self) -> None:
        """Raises UnavailableError if a port that was asked for is taken now: before anything is opened."""
        from ion.config.addresses import LOOPBACK
        from ion.gateway.serve import bound

        for key in self._asked:
            if port := getattr(self._served, key):
                with bound(self._served.host or LOOPBACK, port, _WHO[key], f"management.{key}"):
                    pass

    @asynccontextmanager
    async def serving(self, stores: "Stores", control: "Control | None" = None) -> AsyncGenerator[None]:
        """Serves while the context is open. `control`: who keeps the modules' dispatchers, if management does."""
        async with AsyncExitStack() as stack:
            if not self._wanted:
                pass
            elif not self._here:
                self._tell("management API: not served; it needs packages that are not here: ion-events[management]")
            else:
                await self._try(stack, "management API", "port", partial(self._serve_api, stores, control))
                await self._try(stack, "metrics", "metrics_port", partial(self._serve_metrics, stores, control))
            yield

    async def _try(
        self, stack: AsyncExitStack, what: str, key: str, serve: Callable[[AsyncExitStack, int], Any]
    ) -> None:
        port = getattr(self._served, key)
        if port is None:
            return
        try:
            self._tell(f"{what}: {await serve(stack, port)}")
        except UnavailableError as error:
            if key in self._asked:
                raise
            self._tell(f"{what}: not served: {error}")

    async def _serve_api(self, stores: "Stores", control: "Control | None", stack: AsyncExitStack, port: int) -> str:
        from ion.management.metrics.requests import CountingRequests
        from ion.wiring.api import serving_api

        assert self.counts is not None
        assert self._safety is not None
        opened = serving_api(
            stores,
            self._safety,
            port=port,
            store=self._store,
            retention=self._retention,
            control=control,
            interceptors=(CountingRequests(self.counts),),
        )
        bound = await stack.enter_async_context(opened)
        how = "TLS" if self._safety.material else "without TLS, for this user of this host only"
        return f"{self._safety.host}:{bound} ({how})"

    async def _serve_metrics(
        self, stores: "Stores", control: "Control | None", stack: AsyncExitStack, port: int
    ) -> str:
        from ion.config.addresses import EVERYWHERE, LOOPBACK
        from ion.gateway.metrics import metrics_app
        from ion.gateway.serve import bound, serving
        from ion.management.metrics.page import CONTENT_TYPE, page

        assert self.counts is not None
        in_pod = "KUBERNETES_SERVICE_HOST" in os.environ  # who looks comes from outside of it; nothing on it is secret
        host = self._served.host or (EVERYWHERE if in_pod else LOOPBACK)
        listening = stack.enter_context(bound(host, port, _WHO["metrics_port"], "management.metrics_port"))
        figures, open_jobs = partial(page, stores, self.counts), control.open_jobs if control else None
        app = metrics_app(figures, CONTENT_TYPE, stores.ledger.waiting, open_jobs)
        return f"http://{host}:{await stack.enter_async_context(serving(app, listening))}/metrics"

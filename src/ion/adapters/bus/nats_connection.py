"""The line to a NATS server, kept for ever: a lost one is followed by a new one, to whichever server answers.

Opening the bus connects to nothing, so a command that only reads the ledger neither waits for a server nor imports its
client. The first use connects; from then on a task watches the line. While there is none, whoever asks for it is told
at once, and the log has one line when it goes and one when it is back.
"""

import asyncio
import logging
import random
import ssl
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from ion.adapters.bus.nats_line import Line, abort, translated
from ion.adapters.bus.nats_settings import NatsSettings
from ion.errors import UnavailableError

log = logging.getLogger(__name__)

RETRY_S = 1.0
"""Seconds between attempts, half of them at random: a thousand clients do not come at once."""
CANCEL_AGAIN_S = 1.0
"""The client may swallow a cancellation; closing asks again after so long."""
_CREDENTIALS = (b"BEGIN NATS USER JWT", b"BEGIN USER NKEY SEED")
"""In the line before each part of a credentials file."""


class Connection:
    """Hands out the line; `close` ends it."""

    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings
        self._place = ", ".join(settings.servers)
        self._line: Line | None = None
        self._fault = UnavailableError("the bus has not been opened")
        self._tried = asyncio.Event()
        self._up = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._lost_at: float | None = None

    @property
    def now(self) -> Line | None:
        """The line, if there is one."""
        return None if self._line is None or self._line.gone.is_set() else self._line

    async def line(self) -> Line:
        """The line; the first call waits for it.

        Raises:
            UnavailableError: there is none at present.
        """
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep(), name="keep the line to NATS")
        await self._tried.wait()
        if self.now is None:
            raise UnavailableError(str(self._fault)) from self._fault
        return self.now

    async def wait(self, wait_s: float) -> None:
        """Until there is a line, `wait_s` seconds at most."""
        await asyncio.sleep(0)  # the line may be lost, and its keeper not have heard of it
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._up.wait()

    async def close(self) -> None:
        if self._keeping is not None:
            while not self._keeping.done():
                self._keeping.cancel()
                await asyncio.wait([self._keeping], timeout=CANCEL_AGAIN_S)
        if self._line is not None:
            await self._line.close()

    async def _keep(self) -> None:
        while True:
            try:
                self._line = await self._connect()
            except UnavailableError as error:
                self._fault = error
                self._lost_at = self._lost_at or time.monotonic()
                self._tried.set()
                await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.0))  # noqa: S311  jitter, not a secret
                continue
            self._found(self._line)
            await self._line.lost()
            await self._lose(self._line)

    def _found(self, line: Line) -> None:
        if self._lost_at is not None:
            away_s = time.monotonic() - self._lost_at
            log.warning("the bus NATS at %s is back after %.1f s", line.client.connected_url.netloc, away_s)
        self._lost_at = None
        self._tried.set()
        self._up.set()

    async def _lose(self, line: Line) -> None:
        log.warning("the bus NATS at %s is away; it is tried again until it is back", self._place)
        self._fault = UnavailableError(f"the bus NATS at {self._place} is away; it is tried again until it is back")
        self._lost_at = time.monotonic()
        self._up.clear()
        await line.close()

    async def _connect(self) -> Line:
        faults = []
        for server in random.sample(self._settings.servers, len(self._settings.servers)):
            try:
                return await connected(server, self._settings)
            except UnavailableError as error:
                faults.append(f"{server}: {error}")
        remedy = "start one, or correct `bus.servers`"
        if all("authorization" in fault.lower() for fault in faults):
            remedy = (
                "correct who `bus` says this is; password and token may come from ION_BUS_PASSWORD and ION_BUS_TOKEN"
            )
        raise UnavailableError(f"no NATS server can be used ({'; '.join(faults)}); {remedy}")


async def connected(server: str, settings: NatsSettings) -> Line:
    """A new line to one server.

    Raises:
        UnavailableError: it does not answer, or does not let us in.
    """
    from nats.aio.client import Client

    client = Client()
    line = Line(client, settings)
    failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def on_error(error: Exception) -> None:
        if "permissions" in str(error).lower():
            log.error("%s: NATS does not allow what Ion needs; give its user the right", error)
        if not failed.done():  # while connecting, the client would go on for ever
            failed.set_result(error)
        if isinstance(error, OSError) or not client.is_connected or "EOF" in type(error).__name__:
            line.gone.set()

    async def on_end() -> None:
        line.gone.set()

    try:
        with translated("connecting"):
            connecting = asyncio.create_task(
                client.connect(
                    server, error_cb=on_error, disconnected_cb=on_end, closed_cb=on_end, **_options(server, settings)
                ),
                name="connect to NATS",
            )
            await _first(connecting, failed, settings.timeout_s)
            _check_encrypted(client, server, settings)
            await line.start()
    except BaseException:
        abort(client)
        raise
    return line


def _check_encrypted(client: Any, server: str, settings: NatsSettings) -> None:
    if _encrypts(server, settings) and not client._server_info.get("tls_required"):  # noqa: SLF001  told nowhere else
        raise UnavailableError("it offers no encryption; let it, or remove `bus.tls` and name it by nats://")


async def _first(connecting: "asyncio.Task[None]", failed: "asyncio.Future[Exception]", timeout_s: float) -> None:
    try:
        both: set[asyncio.Future[Any]] = {connecting, failed}
        done, _ = await asyncio.wait(both, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if failed in done:
            raise failed.result()
        if connecting not in done:
            raise TimeoutError(f"no answer in {timeout_s:g} s")
        connecting.result()
    finally:
        if not connecting.done():
            connecting.cancel()
            await asyncio.wait([connecting])
        elif not connecting.cancelled():
            connecting.exception()  # told already


def _options(server: str, settings: NatsSettings) -> dict[str, Any]:
    """Without a buffer the client refuses what it cannot send now, and never waits for one to be flushed: it forgets
    there that it was cancelled.
    """
    options: dict[str, Any] = {
        "name": "ion",
        "allow_reconnect": False,
        "connect_timeout": settings.timeout_s,
        "pending_size": 0,
    }
    for name in ("user", "password", "token"):
        if value := getattr(settings, name):
            options[name] = value
    if settings.credentials:
        options["user_credentials"] = _checked(settings.credentials)
    if _encrypts(server, settings):
        options["tls"] = _context(settings)
    return options


def _checked(file: str) -> str:
    """A credentials file that holds both its parts: the client would look for a missing one without an end."""
    import nkeys  # type: ignore[import-untyped]

    try:
        behind = list(pairwise(Path(file).read_bytes().splitlines()))
        parts = [line for mark in _CREDENTIALS for before, line in behind if mark in before]
        fault = "" if len(parts) == len(_CREDENTIALS) else "it does not hold one token and one key"
        nkeys.from_seed(bytearray(parts[-1] if parts else b""))
    except OSError as error:
        fault = str(error)
    except (ValueError, nkeys.NkeysError):
        fault = fault or "its key cannot be read"
    if fault:
        raise UnavailableError(f"the credentials file {file} cannot be used ({fault}); correct `bus.credentials`")
    return file


def _encrypts(server: str, settings: NatsSettings) -> bool:
    return settings.tls is not None or server.startswith("tls://")


def _context(settings: NatsSettings) -> ssl.SSLContext:
    tls = settings.tls
    if tls is None:
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
        if tls.cert:
            context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ValueError) as error:
        named = ", ".join(file for file in (tls.ca, tls.cert, tls.key) if file)
        raise UnavailableError(f"the TLS files {named} cannot be used ({error}); correct `bus.tls`") from error
    return context

"""One connection to a NATS server: what is asked over it, and how the client's errors become Ion's.

The client's own reconnecting is not used. It ends for good at a refused log-in, and where a line hangs with unsent
bytes it waits for them; so a line that is lost here is thrown away, and `nats_connection` makes a new one. Whatever was
asked over a lost line fails at once.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from ion.adapters.bus.nats_settings import NatsSettings
from ion.errors import InvalidError, UnavailableError, UnsupportedError

UNANSWERED_MOST = 256
"""Requests of one call that are under way at once."""
UNANSWERED_BYTES = 4 * 1024**2
PING_S = 5.0
"""How often a quiet line is tried; it is lost where the answer takes as long again."""
CLOSE_S = 2.0

_GONE = frozenset({10014, 10059})
"""The server's numbers for a consumer and a stream that it does not have."""
_TIRED = frozenset({10008, 10009, 10023, 10047, 10077})
"""No leader, no room, or still starting: the same may succeed later, though some of these come as a client's fault."""


class MissingError(UnavailableError):
    """The stream or a consumer is not there, or its server is only starting."""


class Request(msgspec.Struct, frozen=True):
    subject: str
    payload: bytes = b""
    headers: dict[str, str] | None = None
    reply: str = ""


class Answer(msgspec.Struct, frozen=True):
    """`status` is "" where the answer has none, else NATS's number, such as 503: nobody heard it."""

    payload: bytes
    status: str = ""

    def document(self) -> dict[str, Any]:
        """The JSON that JetStream answered; its errors are raised."""
        if self.status:
            raise MissingError("JetStream does not answer: it is starting, lost its stream, or is not enabled (`-js`)")
        document: dict[str, Any] = msgspec.json.decode(self.payload)
        if error := document.get("error"):
            raise _refusal(error)
        return document


def _refusal(error: dict[str, Any]) -> Exception:
    number, why = error.get("err_code", 0), error.get("description", "no reason is given")
    if number in _GONE:
        return MissingError(f"NATS has lost what Ion made there: {why}")
    if number in _TIRED or error.get("code") == 503:
        return UnavailableError(f"NATS cannot do that now: {why}")
    return UnsupportedError(f"NATS refuses what Ion needs there: {why}; mend the bus's settings or the server's")


class Line:
    """An open connection, made by `ion.adapters.bus.nats_connection`."""

    def __init__(self, client: Any, settings: NatsSettings) -> None:
        self.client = client
        self.gone = asyncio.Event()
        self._settings = settings
        self._inbox = client.new_inbox()
        self._numbers = itertools.count()
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self.at_end: set[Callable[[], None]] = set()
        """What to call when the line is lost."""

    @property
    def message_most(self) -> int:
        """Bytes of a message that the server takes, headers included."""
        return int(self.client.max_payload)

    async def start(self) -> None:
        await self.listen(f"{self._inbox}.*", self._answered)

    async def listen(self, subject: str, heard: Callable[[Any], Awaitable[None]]) -> Any:
        """Gives each message on the subject to `heard`; returns the client's subscription."""
        with translated("listening"):
            return await self.client.subscribe(subject, cb=heard)

    async def ask(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """Sends in order, and waits for all answers; a bounded number and size of requests is under way at once.

        Raises:
            UnavailableError: no answer came for `timeout_s`, or the line is lost; any of them may have been heard.
        """
        answers: list[Answer] = []
        for part in _parts(requests):
            answers += await self._ask(part)
        return answers

    async def tell(self, requests: Sequence[Request]) -> None:
        """Sends without waiting for answers."""
        with translated("sending"):
            for one in requests:
                await self.client.publish(one.subject, one.payload, reply=one.reply, headers=one.headers)

    async def lost(self) -> None:
        """Until the line is lost."""
        while not self.gone.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PING_S):
                    await self.gone.wait()
                return
            try:
                with translated("waiting for a sign of life"):
                    await self.client.flush(PING_S)
            except UnavailableError:
                return

    async def close(self) -> None:
        self.gone.set()
        for call in self.at_end:
            call()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(UnavailableError("the line to NATS was lost before the answer came"))
        with suppress(Exception):  # whatever the client makes of its end, it is over
            await asyncio.wait_for(self.client.close(), CLOSE_S)
        abort(self.client)

    async def _ask(self, requests: Sequence[Request]) -> list[Answer]:
        loop = asyncio.get_running_loop()
        tokens = [str(next(self._numbers)) for _ in requests]
        answers = [loop.create_future() for _ in requests]
        self._waiting.update(zip(tokens, answers, strict=True))
        try:
            if self.gone.is_set():
                raise UnavailableError("the line to NATS was lost")
            with translated("waiting for an answer"):
                for token, request in zip(tokens, requests, strict=True):
                    inbox = f"{self._inbox}.{token}"
                    await self.client.publish(request.subject, request.payload, reply=inbox, headers=request.headers)
                return await self._all(answers)
        finally:
            for token, answer in zip(tokens, answers, strict=True):
                del self._waiting[token]
                if not answer.cancel() and not answer.cancelled():
                    answer.exception()  # else an answer that nobody waits for any more is reported as forgotten

    async def _all(self, answers: "list[asyncio.Future[Answer]]") -> list[Answer]:
        """Those answers; time is up when none has come for `timeout_s`."""
        missing = set(answers)
        while missing:
            done, missing = await asyncio.wait(
                missing, timeout=self._settings.timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise TimeoutError(f"none for {self._settings.timeout_s:g} s")
            for answer in done:
                answer.result()
        return [answer.result() for answer in answers]

    async def _answered(self, message: Any) -> None:
        answer = self._waiting.get(message.subject.rpartition(".")[2])
        if answer is not None and not answer.done():
            answer.set_result(Answer(message.data, status_of(message)))


def status_of(message: Any) -> str:
    return str((message.headers or {}).get("Status", ""))


def _parts(requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    part: list[Request] = []
    size = 0
    for request in requests:
        if part and (len(part) == UNANSWERED_MOST or size + len(request.payload) > UNANSWERED_BYTES):
            yield part
            part, size = [], 0
        part.append(request)
        size += len(request.payload)
    if part:
        yield part


def abort(client: Any) -> None:
    """Closes the client's sockets, whatever has not been sent. The client itself would wait for a line that hangs."""
    transport = getattr(client, "_transport", None)
    for name in ("_io_writer", "_bare_io_writer"):
        if (writer := getattr(transport, name, None)) is not None:
            writer.transport.abort()


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """The client's errors as Ion's."""
    from nats import errors

    try:
        yield
    except errors.MaxPayloadError as error:
        raise InvalidError("the message is larger than the NATS server takes (max_payload); send less") from error
    except (errors.Error, OSError, TimeoutError) as error:
        said = str(error) or type(error).__name__
        raise UnavailableError(f"NATS failed while {doing}: {said}") from error

"""The front API: HTTP in, root events out.

    POST /                {"url": ...}                 the 2018 original's: an event `frontapi.new_link`
    POST /events          a CloudEvent 1.0             structured, or binary with `ce-` headers
    POST /events/TYPE     a multipart form             files, and fields as key/values
    GET  /healthz         200 while the ledger answers

An answer of 200 says that the event is in the ledger; no bus is spoken to. A client that got no answer sends the same
id again: the event is raised once. Nobody hears a misspelt type, so it is refused (422); only the original's `POST /`
goes on accepting it. Errors are `{"error": "one sentence"}`.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ion.config.settings import Front
from ion.errors import ConflictError, InvalidError, UnavailableError
from ion.gateway import cloudevents
from ion.gateway.backlog import Backlog
from ion.gateway.form import read_form
from ion.gateway.guard import admit_request, metered, too_large
from ion.gateway.limits import bind_host
from ion.management.events import Raised, RootEvent, RootFile, raise_event, require_hearer
from ion.management.spool import Spool, save
from ion.model.record import Context, Kind
from ion.ports.blobs import Blobs
from ion.ports.ledger import Ledger

GATEWAY = "frontapi"
NEW_LINK = "frontapi.new_link"
HEALTH = "/healthz"
RETRY_AFTER_S = 10


def front_api(
    *,
    ledger: Ledger,
    blobs: Blobs,
    settings: Front,
    spool: Path,
    open_jobs: Callable[[], Awaitable[int]] | None = None,
) -> ASGIApp:
    """The application. `spool` is a folder for uploads, on the blob store's file system where it has one.

    `open_jobs` counts the ledger's open jobs, if that can be had cheaper than by paging through them.

    Raises:
        InvalidError: the settings let in anyone by mistake; see `bind_host`.
    """
    bind_host(settings)
    front = _Routes(ledger, blobs, settings, Spool(spool), Backlog(ledger, settings.backlog_most, count=open_jobs))
    return Starlette(
        routes=[
            Route("/", front.link, methods=["POST"]),
            Route("/events", front.event, methods=["POST"]),
            Route("/events/{type:path}", front.form, methods=["POST"]),
            Route(HEALTH, front.health, methods=["GET"]),
        ],
        middleware=[Middleware(_Guard, settings=settings)],
        exception_handlers={
            404: _nothing_there,
            405: _wrong_method,
            HTTPException: _refused,
            InvalidError: _invalid,
            ConflictError: _conflict,
            UnavailableError: _unavailable,
            ClientDisconnect: _gone,
            Exception: _broken,
        },
    )


class _Routes:
    """The routes."""

    def __init__(self, ledger: Ledger, blobs: Blobs, settings: Front, spool: Spool, backlog: Backlog) -> None:
        self._ledger, self._blobs, self._settings = ledger, blobs, settings
        self._spool, self._backlog = spool, backlog

    async def health(self, request: Request) -> Response:  # noqa: ARG002  the signature of a route
        await self._ledger.waiting()
        return _json({"status": "ok"})

    async def link(self, request: Request) -> Response:
        await self._require_room()
        url = _url(await self._document(request))
        warning = ""
        try:
            await require_hearer(NEW_LINK, self._ledger)
        except InvalidError as error:
            warning = str(error)
        root = RootEvent(type=NEW_LINK, data={"url": url}, **cloudevents.optional(request.headers))
        return await self._raise(root, warning)

    async def event(self, request: Request) -> Response:
        await self._require_room()
        media = request.headers.get("content-type", "")
        if media.lower().startswith(cloudevents.FAMILY):
            return await self._structured(request, media)
        if cloudevents.is_binary(request.headers):
            return await self._binary(request, media)
        raise HTTPException(
            415,
            "this is no CloudEvent: send `application/cloudevents+json`, or the attributes as `ce-` headers",
        )

    async def _structured(self, request: Request, media: str) -> Response:
        if media.partition(";")[0].strip().lower() != cloudevents.STRUCTURED:
            raise HTTPException(
                415, f"{media[:60]} is not understood: send one event each request as `application/cloudevents+json`"
            )
        root, content, kind = cloudevents.structured(await self._document(request))
        await self._require_hearer(root.type)
        if content is None:
            return await self._raise(root)
        return await self._raise_with_file(root, kind, _once(content))

    async def _binary(self, request: Request, media: str) -> Response:
        attributes = cloudevents.binary(request.headers)
        await self._require_hearer(attributes.type)
        if cloudevents.is_json(media):
            return await self._raise(attributes.root(cloudevents.json_data(await self._document(request))))
        return await self._raise_with_file(attributes.root(None), media, request.stream())

    async def form(self, request: Request) -> Response:
        await self._require_room()
        media = request.headers.get("content-type", "")
        if not media.lower().startswith("multipart/form-data"):
            raise HTTPException(415, "send the event as a form: Content-Type `multipart/form-data` (curl -F KEY=VALUE)")
        event_type = request.path_params["type"]
        await self._require_hearer(event_type)
        async with self._spool.open() as folder:
            form = await read_form(media, request.stream(), folder, self._settings)
            extra = cloudevents.optional(request.headers)
            return await self._raise(RootEvent(type=event_type, data=form.fields, files=form.files, **extra))

    async def _raise_with_file(self, root: RootEvent, media: str, body: AsyncIterable[bytes]) -> Response:
        async with self._spool.open() as folder:
            file = RootFile(
                name=cloudevents.file_name(root.subject, media), file=await save(body, folder / "0"), temporary=True
            )
            return await self._raise(msgspec.structs.replace(root, files=(file,)))

    async def _raise(self, root: RootEvent, warning: str = "") -> Response:
        raised = await raise_event(root, gateway=GATEWAY, ledger=self._ledger, blobs=self._blobs)
        return _json(_answer(raised, warning))

    async def _require_room(self) -> None:
        if await self._backlog.full():
            raise HTTPException(
                429,
                f"{self._settings.backlog_most} jobs or more are open: send the event again later",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )

    async def _require_hearer(self, event_type: str) -> None:
        try:
            await require_hearer(event_type, self._ledger)
        except InvalidError as error:
            raise HTTPException(422, str(error)) from error

    async def _document(self, request: Request) -> bytes:
        document = bytearray()
        async for chunk in request.stream():
            document += chunk
            if len(document) > self._settings.max_json:
                raise too_large("the document", self._settings.max_json)
        return bytes(document)


class _Guard:
    """Stands before the routes; see guard.py."""

    def __init__(self, app: ASGIApp, settings: Front) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            if scope["path"] != HEALTH:
                admit_request(request.headers, self._settings)
        except HTTPException as error:
            await (await _refused(request, error))(scope, receive, send)
            return
        await self._app(scope, metered(receive, self._settings), send)


def _url(document: bytes) -> str:
    try:
        url = msgspec.json.decode(document, type=dict[str, Any]).get("url")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidError(f'the body is not a JSON object such as {{"url": "http://..."}}: {error}') from error
    if not isinstance(url, str) or not url.partition(":")[2]:
        raise InvalidError('the body names no URL: send {"url": "http://..."}')
    return url


async def _once(content: bytes) -> AsyncGenerator[bytes]:
    yield content


def _answer(raised: Raised, warning: str) -> dict[str, Any]:
    event = raised.event
    context = Context(
        name=GATEWAY,
        event_id=event.id,
        correlation_id=event.correlation_id,
        parent_event_id=event.parent_id,
        document_type=Kind.EVENT_META,
    )
    answer: dict[str, Any] = {"context": context, "type": event.type}
    if raised.duplicate:
        answer["duplicate"] = True
    if warning:
        answer["warning"] = warning
    return answer


def _json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, "application/json")


def _error(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    return _json({"error": sentence}, status, headers)


async def _refused(request: Request, error: Exception) -> Response:  # noqa: ARG001  the signature of a handler
    assert isinstance(error, HTTPException)
    return _error(error.status_code, error.detail, error.headers)


async def _nothing_there(request: Request, error: Exception) -> Response:  # noqa: ARG001  the signature of a handler
    return _error(404, f"there is nothing at {request.url.path[:100]}: post to /, /events or /events/TYPE")


async def _wrong_method(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    allowed = (error.headers or {}).get("Allow", "POST")
    return _error(405, f"{request.method} is not possible at {request.url.path[:100]}: use {allowed}", error.headers)


async def _invalid(request: Request, error: Exception) -> Response:  # noqa: ARG001  the signature of a handler
    return _error(400, str(error))


async def _conflict(request: Request, error: Exception) -> Response:  # noqa: ARG001  the signature of a handler
    return _error(409, str(error))


async def _unavailable(request: Request, error: Exception) -> Response:  # noqa: ARG001  the signature of a handler
    return _error(503, str(error), {"Retry-After": str(RETRY_AFTER_S)})


async def _gone(request: Request, error: Exception) -> Response:  # noqa: ARG001  the signature of a handler
    return _error(400, "the client left before the request was complete")


async def _broken(request: Request, error: Exception) -> Response:  # noqa: ARG001  the signature of a handler
    return _error(
        500, "the front API met an error of its own: its log says more; send the event again with the same id"
    )

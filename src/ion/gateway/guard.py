"""What every request passes before a route sees it: who sends it, and how much, and how slowly.

Written against ASGI itself and not as a framework's middleware, since it has to refuse before the body is read and to
count while it is being read.
"""

import asyncio
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from ion.config.addresses import is_loopback
from ion.config.settings import Front


def admit_request(headers: Headers, settings: Front) -> None:
    """Raises HTTPException: 401 without a token, 403 from a foreign web page, 413 if it says it is too large."""
    if settings.tokens:
        _check_token(headers.get("authorization", ""), settings.tokens)
    elif not settings.open:
        _check_origin(headers.getlist("origin"))
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > settings.max_body:
        raise too_large("the request", settings.max_body)


def _check_token(authorization: str, tokens: tuple[str, ...]) -> None:
    scheme, _, given = authorization.partition(" ")
    # Every token is compared, each in constant time: the answer's delay tells nothing.
    matches = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in tokens]
    if scheme.lower() != "bearer" or not any(matches):
        raise HTTPException(
            401,
            "this front API asks for a token: send `Authorization: Bearer TOKEN` with one of `front.tokens`",
            headers={"WWW-Authenticate": 'Bearer realm="ion"'},
        )


def _check_origin(origins: list[str]) -> None:
    """A browser says which page a request comes from; any page may reach a port of its own machine."""
    for origin in origins:
        if not is_loopback(urlsplit(origin).hostname or ""):
            raise HTTPException(
                403, f"requests of the web page {origin[:100]} are refused: set `front.tokens` to let other pages in"
            )


def too_large(what: str, most: int) -> HTTPException:
    """The error for what exceeds `most` bytes."""
    return HTTPException(413, f"{what} is larger than {most} bytes: send less, or raise the limit under `front`")


def metered(receive: Receive, settings: Front) -> Receive:
    """`receive`, but counting bytes (413) and waiting at most `stall_s` for the next (408)."""
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        try:
            async with asyncio.timeout(settings.stall_s):
                message = await receive()
        except TimeoutError:
            raise HTTPException(
                408, f"nothing was received for {settings.stall_s:g} s: send the request again"
            ) from None
        taken += len(message.get("body", b""))
        if taken > settings.max_body:
            raise too_large("the request", settings.max_body)
        return message

    return counted

"""Errors ↔ gRPC's status: the code says of what kind a refusal is, the details are its sentence.

The error's own name goes along in the trailing metadata, so that Ion's client raises exactly what the server did.
"""

from typing import Final, NoReturn
from urllib.parse import quote

import grpc
import grpc.aio

from ion import errors
from ion.errors import (
    ConflictError,
    DeniedError,
    ExistsError,
    InvalidError,
    IonError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)

CODES: Final[dict[type[IonError], grpc.StatusCode]] = {
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    InvalidError: grpc.StatusCode.INVALID_ARGUMENT,
    ExistsError: grpc.StatusCode.ALREADY_EXISTS,
    ConflictError: grpc.StatusCode.FAILED_PRECONDITION,
    DeniedError: grpc.StatusCode.PERMISSION_DENIED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    UnsupportedError: grpc.StatusCode.UNIMPLEMENTED,
}
"""The first that an error is an instance of counts."""
BY_CODE: Final = {code: kind for kind, code in CODES.items()}
NAME: Final = "ion-error"
DETAILS_MOST: Final = 4000
"""Bytes of a sentence on the wire, where it is a header: clients take 8 KiB of those, all in all."""
FAULT: Final = "something went wrong in Ion itself: its log says what"
AWAY: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
HINTS: Final = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not of the CA that is trusted here: give the one it is of",
    "WRONG_VERSION_NUMBER": "it does not speak TLS: leave out certificate, key and CA",
    "Socket closed": "it hung up: does it want TLS, and a certificate of this side that it trusts?",
}
"""What to do, by what gRPC says went wrong."""
DENIED: Final = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)


async def refuse(context: "grpc.aio.ServicerContext[bytes, bytes]", error: IonError | None) -> NoReturn:
    """Ends the call with the error's code and sentence; without one, with a sentence that gives nothing away."""
    if error is None:
        await context.abort(grpc.StatusCode.INTERNAL, FAULT)
    code = next(code for kind, code in CODES.items() if isinstance(error, kind))
    await context.abort(code, shortened(str(error)), ((NAME, type(error).__name__),))


def shortened(sentence: str) -> str:
    """The sentence as far as it goes into a header, where a character may take up to twelve bytes."""
    if len(quote(sentence)) <= DETAILS_MOST:
        return sentence
    end = len(sentence)
    while len(quote(sentence[:end])) > DETAILS_MOST:
        end = end * 3 // 4
    return sentence[:end] + "…"


def error_of(refused: grpc.aio.AioRpcError, endpoint: str) -> IonError:
    """What a client raises for a call that ended badly."""
    code, details = refused.code(), refused.details() or ""
    named = dict(refused.trailing_metadata() or ()).get(NAME)
    kind = getattr(errors, named, None) if isinstance(named, str) else None
    if isinstance(kind, type) and issubclass(kind, IonError) and CODES.get(kind, code) is code:
        return kind(details)
    return _told(code, details, endpoint)


def _told(code: grpc.StatusCode, details: str, endpoint: str) -> IonError:
    """The error for a status that is gRPC's own, or another server's."""
    if code in AWAY:
        hint = _hint(details) or f"{_brief(details, code)}; is it up, and reachable?"
        return UnavailableError(f"no answer from Ion at {endpoint}: {hint}")
    if code in DENIED:
        return DeniedError(details or f"Ion at {endpoint} refuses: it does not know you, or you may not do that")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return UnsupportedError(f"Ion at {endpoint} does not know this call: it is of another version")
    if code in BY_CODE and details:
        return BY_CODE[code](details)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return InvalidError(f"too much for one message to or from Ion at {endpoint}, ask for less: {details}")
    return UnavailableError(f"Ion at {endpoint} failed ({code.name}): {details}")


def _brief(details: str, code: grpc.StatusCode) -> str:
    """The last cause of gRPC's chain of them."""
    return details.removesuffix(": OK").rpartition(": ")[2].strip(" ;.]") or code.name.lower().replace("_", " ")


def _hint(details: str) -> str:
    """What TLS may have to do with it that there is no connection, if anything."""
    if "failed to connect" not in details:
        return ""
    return next((hint for sign, hint in HINTS.items() if sign in details), "")

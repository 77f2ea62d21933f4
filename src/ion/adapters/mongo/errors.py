"""MongoDB's errors in Ion's words, in one place, and how long a server asks to be left alone.

What may come back is an `UnavailableError`. What somebody has to mend, here or there, is a `RefusedError`: who opens
the database is told that it was wrongly set up, who works on it waits, since a password may be changed on the server
before it is changed here.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ion.errors import InvalidError, IonError, UnavailableError

DUPLICATE = 11000
THROTTLED = 16500
"""What Azure Cosmos DB answers where it would say 429 over HTTP."""
NO_SUCH_COMMAND = 59
_LOG_IN = "refuses the log-in; check user, password and auth_source"
_REFUSES = {
    13: "refuses this user that; give it the right to read, write and make indexes there",
    18: _LOG_IN,
    8000: _LOG_IN,  # MongoDB Atlas
}
_ADVICE = {
    THROTTLED: "throttles for too long; raise its request units or wait",
    14031: "has no room left on its disk; free some space there",
}
_TOO_LARGE = frozenset({10334, 17419, 17420})
_MISNAMED = ("mismatch", "not valid for", "doesn't match")
_RETRY_AFTER = re.compile(r"RetryAfterMs=(\d+)")
_RETRY_AFTER_S = 0.1
"""Where the server does not say how long."""


class RefusedError(UnavailableError):
    """The server will not do this, or is not the one that is meant, until something is set right."""


@contextmanager
def configured(place: str) -> Iterator[None]:
    """Raises what the client does not take of its settings, among them certificates that cannot be read."""
    from pymongo.errors import PyMongoError

    try:
        yield
    except (PyMongoError, OSError, ValueError, TypeError) as error:
        raise InvalidError(
            f"the database at {place} cannot be asked with these settings ({_short(error)});"
            " check uri, hosts, tls_ca and tls_cert"
        ) from error


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Raises what the server at `place` cannot do as an error of Ion's; mistakes in commands pass as they are."""
    from bson.errors import InvalidDocument
    from pymongo.errors import PyMongoError

    try:
        yield
    except InvalidDocument as error:
        raise InvalidError(f"this cannot be stored in the database at {place} ({_short(error)})") from error
    except PyMongoError as error:
        raise _translation(error, place) from error


def _translation(error: Any, place: str) -> IonError:
    from pymongo.errors import DocumentTooLarge

    code = code_of(error)
    if code in _REFUSES:
        return RefusedError(f"the database at {place} {_REFUSES[code]}")
    if code in _ADVICE:
        return UnavailableError(f"the database at {place} {_ADVICE[code]}")
    if isinstance(error, DocumentTooLarge) or code in _TOO_LARGE:
        return InvalidError(f"the database at {place} does not take a document as large as this; put it into a file")
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return _unproven(error, place)
    return UnavailableError(
        f"the database at {place} does not answer as it should ({_short(error)});"
        " check that it runs and can be reached, and that tls and tls_cert are as it wants them"
    )


def _unproven(error: Any, place: str) -> IonError:
    if any(words in str(error) for words in _MISNAMED):
        return RefusedError(
            f"the database at {place} shows a certificate for another name ({_short(error)});"
            " set hosts to that name, or have a certificate made for this one"
        )
    return RefusedError(
        f"the database at {place} shows a certificate that is not trusted, or has expired ({_short(error)});"
        " set tls_ca to its authority, or renew it there"
    )


def code_of(error: Any) -> int:
    """The server's code; of several writes, that of the first that failed."""
    for write in faults_of(error):
        return int(write.get("code") or 0)
    return int(getattr(error, "code", None) or 0)


def faults_of(error: Any) -> list[Mapping[str, Any]]:
    """The failed writes of a bulk."""
    details = getattr(error, "details", None)
    return list(details.get("writeErrors") or ()) if isinstance(details, Mapping) else []


def is_confirmed(error: Any) -> bool:
    """Whether a bulk's writes, but those that failed, are where they must be before anybody may count on them."""
    return not error.details.get("writeConcernErrors")


def asked_to_wait_s(error: Any) -> float | None:
    """How long the server wants to be left alone; None where it does not throttle."""
    faults = faults_of(error)
    throttled = [fault for fault in faults if fault.get("code") == THROTTLED]
    if not throttled and getattr(error, "code", None) != THROTTLED:
        return None
    texts = [str(fault.get("errmsg", "")) for fault in throttled] or [str(error)]
    named = [int(found[1]) / 1000 for text in texts if (found := _RETRY_AFTER.search(text))]
    return max(named, default=_RETRY_AFTER_S)


def _short(error: Exception) -> str:
    """The beginning of the client's message, which goes on with its settings and the state of the whole topology."""
    text = str(error) or type(error).__name__
    return " ".join(re.split(r", Timeout:| \(configured timeouts:| \(_ssl\.c:", text)[0].split())[:160]

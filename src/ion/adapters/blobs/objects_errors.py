"""What the client of the object stores raises, as Ion's errors with one sentence.

Its messages carry whole answers and its own inner state; of these only the status and the server's word for the fault
are passed on.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ion.errors import ExistsError, InvalidError, IonError, NotFoundError, UnavailableError, UnsupportedError


class RefusedError(UnavailableError):
    """The store is there, but wants other credentials, or has no such bucket: somebody has to mend that."""


_STATUS = re.compile(r"status code: (\d{3}(?: [A-Z][A-Za-z' -]*)?)")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_NO_BUCKET = re.compile(r"<Code>(?:NoSuchBucket|ContainerNotFound|ContainerBeingDeleted)</Code>")
_NAME = "object stores take no such name; leave control characters out of it"
_REFUSED = re.compile(r"status code: 40[13]\b|<Code>ExpiredToken</Code>")
_CREDENTIALS = "it refuses the credentials; check them, and what they allow"
_SIGNS = (
    ("token request", "no credentials can be had for it: write them into the settings, or give this host an identity"),
    ("incorrectly configured region", "it is in another region: set region"),
    ("certificate", "its certificate is not trusted: set ca to its authority's PEM file"),
    ("dns error", "its name is not known here"),
    ("failed to lookup", "its name is not known here"),
    ("connectionrefused", "nobody listens there"),
    ("timedout", "it does not answer in time"),
    ("timed out", "it does not answer in time"),
)


@contextmanager
def translated(doing: str, place: str, refusal: Callable[[], str] = lambda: _CREDENTIALS) -> Iterator[None]:
    """`doing` is what was tried, such as "store the blob 'a/b'"; `place` the store's URL; `refusal` what there is to
    say where that refuses.

    An `OSError` with a number is this host's own, about a file; one without is the client's.
    """
    try:
        yield
    except IonError:
        raise
    except Exception as error:
        about = f"cannot {doing} in {place}"
        translation = (
            _local(error, about) if isinstance(error, OSError) and error.errno else _remote(error, about, refusal)
        )
        if translation is None:
            raise
        raise translation from error


def _local(error: OSError, about: str) -> IonError:
    fault = f"{about}: {error.filename or 'a file of this host'}: {error.strerror}"
    if isinstance(error, FileExistsError):
        return ExistsError(fault)
    return UnavailableError(f"{fault}; free or mend that place, then retry")


def _remote(error: Exception, about: str, refusal: Callable[[], str]) -> IonError | None:
    """None for what is not the client's."""
    from obstore import exceptions as client

    text = str(error)
    if _NO_BUCKET.search(text):
        return RefusedError(f"{about}: there is no such container or bucket; create it, or mend the url")
    if isinstance(error, ValueError):
        return InvalidError(f"{about}: {_NAME}") if "parse path" in text else None
    if isinstance(error, client.GenericError) and _REFUSED.search(text):  # a listing's come so
        error = client.PermissionDeniedError(text)
    first, semicolon, rest = refusal().partition(";")
    refused = f"{first}{_told(text)}{semicolon}{rest}"
    table: list[tuple[tuple[type[Exception], ...], type[IonError], str]] = [
        ((FileNotFoundError,), NotFoundError, "there is no such blob"),
        ((TimeoutError,), UnavailableError, "it does not answer in time; see that it is reached, then retry"),
        ((client.AlreadyExistsError,), ExistsError, "something is stored there already"),
        ((client.PermissionDeniedError, client.UnauthenticatedError), RefusedError, refused),
        ((client.PreconditionError, client.NotModifiedError), UnavailableError, "it was changed meanwhile; retry"),
        ((client.NotSupportedError,), UnsupportedError, "this store cannot do that"),
        ((client.InvalidPathError,), InvalidError, _NAME),
        ((client.BaseError,), UnavailableError, _reason(text)),
    ]
    for kinds, ours, fault in table:
        if isinstance(error, kinds):
            return ours(f"{about}: {fault}")
    return None


def _told(text: str) -> str:
    """The status and the server's own word for the fault, in brackets."""
    status, code = _STATUS.search(text), _CODE.search(text)
    said = " ".join(found[1].strip() for found in (status, code) if found)
    return f" ({said})" if said else ""


def _reason(text: str) -> str:
    lower = text.lower()
    for sign, reason in _SIGNS:
        if sign in lower:
            return reason
    if said := _told(text):
        return f"it answers{said.replace('(', '').replace(')', '')}; see what ails it, then retry"
    return "the connection broke; see that it is reached, then retry"

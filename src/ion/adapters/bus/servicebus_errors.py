"""The vendor's errors as Ion's, and what is remembered of a broker that is away or busy."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ion.errors import InvalidError, IonError, NotFoundError, UnavailableError

log = logging.getLogger(__name__)


REFUSED = (
    "refuses the credentials; check the connection string, or that the identity has the role Azure Service Bus Data "
    "Owner (Data Sender and Data Receiver where Ion may not manage)"
)


class BusyError(UnavailableError):
    """The broker throttles."""


@contextmanager
def translated(doing: str, host: str) -> Iterator[None]:
    """`doing` begins the message, such as "sending to the topic photo"."""
    try:
        yield
    except IonError:
        raise
    except Exception as error:
        # All of them: when its connection goes in the middle of something, the client lets its transport's own errors
        # through, and bare ones of Python's.
        kind, fault = _translation(error)
        raise kind(f"{doing} failed: {host} {fault}") from error


def _translation(error: Exception) -> tuple[type[IonError], str]:
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
    from azure.servicebus import exceptions as vendor

    table: list[tuple[tuple[type[Exception], ...], type[IonError], str]] = [
        (
            (vendor.MessagingEntityNotFoundError, ResourceNotFoundError),
            NotFoundError,
            "has no such topic or subscription; make it first",
        ),
        (
            (vendor.MessageSizeExceededError,),
            InvalidError,
            "does not take an event as large as one of these; put its data into a file",
        ),
        (
            (vendor.ServiceBusAuthenticationError, vendor.ServiceBusAuthorizationError, ClientAuthenticationError),
            UnavailableError,
            REFUSED,
        ),
        ((vendor.ServiceBusServerBusyError,), BusyError, "is busy and asks to be left alone for a while"),
        ((vendor.ServiceBusQuotaExceededError,), UnavailableError, "has used up a quota; make room or raise it"),
        ((vendor.MessagingEntityDisabledError,), UnavailableError, "has disabled it; enable it again"),
    ]
    for kinds, kind, fault in table:
        if isinstance(error, kinds):
            return kind, fault
    if isinstance(error, HttpResponseError) and error.status_code in (401, 403):
        return UnavailableError, REFUSED
    return UnavailableError, f"does not answer as it should ({_short(error)})"


def _short(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:200]


class Outage:
    """One log line when the broker goes, one when all that missed it have it back.

    A first failure is not yet an outage: the broker closes links that were idle, and they are opened again.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._failures: dict[object, int] = {}
        self._told = False

    def gone(self, whom: object, error: Exception) -> None:
        self._failures[whom] = self._failures.get(whom, 0) + 1
        if self._failures[whom] > 1 and not self._told:
            self._told = True
            log.warning("Azure Service Bus %s is away and will be tried again: %s", self._host, error)

    def back(self, whom: object) -> None:
        self._failures.pop(whom, None)
        if self._told and not self._failures:
            self._told = False
            log.warning("Azure Service Bus %s is back", self._host)

    def forget(self, whom: object) -> None:
        """It does not wait any longer."""
        self._failures.pop(whom, None)


class Pace:
    """Holds everybody back after the broker said that it is busy."""

    def __init__(self, busy_s: float) -> None:
        self._busy_s = busy_s
        self._free_at = 0.0

    def busy(self) -> None:
        self._free_at = asyncio.get_running_loop().time() + self._busy_s

    async def free(self) -> None:
        if (left_s := self._free_at - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left_s)

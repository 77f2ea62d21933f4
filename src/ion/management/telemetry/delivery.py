"""Whether what is exported arrives: one warning when it no longer does, and one line when it does again."""

import logging
import re
import threading
from collections.abc import Collection, Mapping
from urllib.parse import unquote

from ion.management.telemetry.wanted import AZURE
from ion.messaging.loglines import message_of

log = logging.getLogger("ion.telemetry")

QUEUE_FULL = "full"
"""What the SDK's own message says when it has to drop what it could not export in time."""


HEARD_MOST = 300
SECRET_LEAST = 4
"""Characters; a shorter part of a header says nothing."""


def without_queries(text: str) -> str:
    """A text without what may be a key in a URL."""
    return re.sub(r"(?<=//)[^/@\s]*@|(?<=\?)\S+", "…", text)


def secrets_of(environ: Mapping[str, str]) -> Collection[str]:
    """What the variables of exporters hold that must not be told: headers, and the key of Azure Monitor."""
    found = {environ.get(AZURE, "")}
    found |= {part.partition("=")[2] for part in environ.get(AZURE, "").split(";") if "key" in part.lower()}
    for name, text in environ.items():
        if name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("HEADERS"):
            for header in text.split(","):
                found |= {header.strip(), *_words(header), *_words(unquote(header))}
    return sorted((one for one in found if len(one) >= SECRET_LEAST), key=len, reverse=True)


def _words(header: str) -> list[str]:
    """Those of its value: whoever complains of it may show it in parts."""
    return re.split(r"[\s=:]+", header.strip())[1:]


class Delivery:
    """Is told how each export ended, and hears what the SDK logs. Safe to call from several threads."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        self._secrets = secrets
        self._failing: set[str] = set()
        self._lock = threading.Lock()
        self._told_full = False
        self._begun = False
        self._said: set[str] = set()
        self.heard = ""
        """What the SDK said last about an export."""

    def begin(self) -> None:
        """What the SDK logs from now on is about exports; until here it was about the variables, and was passed on."""
        self._begun = True

    def without_secrets(self, text: str) -> str:
        """The first line of a text as it may be said."""
        text = text.partition("\n")[0]
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return without_queries(text)[:HEARD_MOST]

    def ended(self, what: str, *, ok: bool, where: str) -> None:
        """An export of `what` to `where` has ended."""
        with self._lock:
            was_failing = bool(self._failing)
            (self._failing.discard if ok else self._failing.add)(f"{what} {where}")
            if self._failing and not was_failing:
                why = f": {self.heard}" if self.heard else ""
                log.warning("%s cannot be exported to %s and are lost until that works again%s", what, where, why)
            elif was_failing and not self._failing:
                log.warning("telemetry can be exported again")

    def listen(self) -> None:
        """Takes over what the SDK logs: each failed export several times, and each full queue."""
        for name in ("opentelemetry", "azure"):
            theirs = logging.getLogger(name)
            theirs.addHandler(_Heard(self))
            theirs.propagate = False

    def hear(self, message: str) -> None:
        """The SDK logs this."""
        message = self.without_secrets(message)
        if not self._begun:
            if message not in self._said:
                log.warning("%s", message)
            self._said.add(message)
            return
        if QUEUE_FULL in message and not self._told_full:
            self._told_full = True
            log.warning("more telemetry comes than can be exported; the rest is lost: %s", message)
        self.heard = message


class _Heard(logging.Handler):
    def __init__(self, delivery: Delivery) -> None:
        super().__init__()
        self._delivery = delivery

    def emit(self, record: logging.LogRecord) -> None:
        self._delivery.hear(message_of(record))

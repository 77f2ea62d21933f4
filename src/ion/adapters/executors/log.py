"""An attempt's log: both outputs of the module in their order, a time before each line, in a bounded file.

The head is written as it comes, so that it can be followed. What does not fit is dropped from the middle: the last 64
KiB are kept in memory and follow the head when the log is closed, behind a line that says how much is missing. Lines
are cut at 64 KiB, so a module that never ends a line costs no memory. Values of secrets are masked before anything is
written, also where a value arrives in pieces.
"""

import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

LINE_LIMIT = 64 * 1024
"""Bytes of one line before it is cut; as much as a pipe holds."""

TAIL = 64 * 1024
"""Bytes kept of the end of a log that is too long."""

_MARK_ROOM = 160
_LEAST_LIMIT = 1024
_LEAST_LINE = 8


class Mask:
    """Replaces the values of secrets by `***` in a stream of chunks.

    A value of several lines is masked line by line as well, as programs print it; lines under 8 bytes are too common.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        values = {secret.encode(errors="surrogateescape") for secret in secrets if secret}
        lines = {line.strip() for value in values for line in value.splitlines() if len(line.strip()) >= _LEAST_LINE}
        self._values = sorted(values | lines, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._values))) if self._values else None
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """The chunk masked; an end that may be the beginning of a value is held back for the next chunk."""
        if self._pattern is None:
            return chunk
        text = self._held + chunk
        cut = self._begins_at(text)
        for match in self._pattern.finditer(text):
            if match.start() < cut < match.end():
                cut = match.end()
        self._held = text[cut:]
        return self._pattern.sub(b"***", text[:cut])

    def flush(self) -> bytes:
        """What was held back, when nothing follows."""
        held, self._held = self._held, b""
        return self._pattern.sub(b"***", held) if self._pattern else held

    def _begins_at(self, text: bytes) -> int:
        for start in range(max(0, len(text) - len(self._values[0]) + 1), len(text)):
            end = text[start:]
            if any(len(value) > len(end) and value.startswith(end) for value in self._values):
                return start
        return len(text)


class LogSpool:
    """The growing log file of one attempt."""

    def __init__(self, descriptor: int, *, limit: int, secrets: Iterable[str]) -> None:
        limit = max(limit, _LEAST_LIMIT)
        self._descriptor = descriptor
        self._mask = Mask(secrets)
        self._tail_limit = min(TAIL, limit // 2)
        self._room = limit - self._tail_limit - _MARK_ROOM
        self._tail = bytearray()
        self._left_out = 0
        self._column = 0
        self._open = True
        self.fault: OSError | None = None

    @classmethod
    def create(cls, file: Path, *, limit: int, secrets: Iterable[str]) -> Self:
        """A new file that only its owner reads. `limit` is the whole log's size in bytes."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        return cls(os.open(file, flags, 0o600), limit=limit, secrets=secrets)

    def write(self, chunk: bytes) -> None:
        """Takes what the module wrote. A disk that fails is remembered in `fault`; the module is not held up."""
        self._keep(self._stamp(self._mask.feed(chunk)))

    def add(self, text: bytes) -> None:
        """Takes text that has its times already, and no secrets."""
        self._keep(text)

    def close(self) -> None:
        """Writes the tail and closes the file; nothing may be written afterwards. Repeating it is harmless."""
        if not self._open:
            return
        self._open = False
        self._keep(self._stamp(self._mask.flush()))
        if self._column:
            self._keep(b"\n")
        self._write_tail()
        os.close(self._descriptor)

    def _stamp(self, text: bytes) -> bytes:
        """Puts the time before every line that begins in `text`."""
        if not text:
            return b""
        now = _stamp_now()
        first = text.find(b"\n")
        begin = b"" if self._column else now
        if self._column and self._column + (len(text) if first < 0 else first) > LINE_LIMIT:
            begin, self._column = b"\n" + now, 0
        stamped = begin + text.replace(b"\n", b"\n" + now)
        if text.endswith(b"\n"):
            self._column = 0
            return stamped[: -len(now)]
        self._column = len(text) - text.rfind(b"\n") - 1 if first >= 0 else self._column + len(text)
        return stamped

    def _keep(self, text: bytes) -> None:
        if self._room and text:
            taken = text if len(text) <= self._room else text[: self._room]
            self._room -= len(taken)
            self._put(taken)
            text = text[len(taken) :]
        self._tail += text
        if len(self._tail) > 2 * self._tail_limit:
            self._trim()

    def _trim(self) -> None:
        surplus = len(self._tail) - self._tail_limit
        self._left_out += surplus
        del self._tail[:surplus]

    def _write_tail(self) -> None:
        if len(self._tail) > self._tail_limit + _MARK_ROOM // 2 or self._left_out:
            self._trim()
            rest = self._tail.find(b"\n") + 1
            del self._tail[:rest]
            self._put(b"\n%s[ion] %d bytes of the log were left out here\n" % (_stamp_now(), self._left_out + rest))
        self._put(bytes(self._tail))
        self._tail.clear()

    def _put(self, text: bytes) -> None:
        while text and self.fault is None:
            try:
                text = text[os.write(self._descriptor, text) :]
            except OSError as error:
                self.fault = error


def _stamp_now() -> bytes:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z ").encode()

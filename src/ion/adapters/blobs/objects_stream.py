"""A large file in one request to Azure, as it is read: the one way for a credential that may create and nothing else.

Blocks, of which the client would make such a blob, need the right to write, and with it everything in the container
could be overwritten. One request takes up to 5,000 MiB. It is the standard library's, in a thread of its own, for the
client takes what comes in one request from memory.

A service that refuses answers at once and closes the line, and who is still sending rarely gets to read why. So a
request goes ahead that is like it but brings one byte and the checksum of none: where the blob could be created, it
fails for that and for nothing else.
"""

import base64
import errno
import hashlib
import os
import ssl
import threading
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import NoReturn

from ion.adapters.blobs.objects_sas import VERSION
from ion.adapters.blobs.objects_settings import MIB, ObjectsSettings
from ion.adapters.blobs.objects_transfer import whole
from ion.errors import InvalidError

MOST = 5000 * MIB

_MD5_OF_NOTHING = base64.b64encode(hashlib.md5(b"", usedforsecurity=False).digest()).decode()
_CREATED, _BAD_REQUEST = 201, 400


class _Content:
    """An open file as it goes out; cut short soon after `stop` is set."""

    def __init__(self, source: int, size: int, stop: threading.Event) -> None:
        self._source, self._size, self._stop = source, size, stop
        self._at = 0

    def read(self, _: int = -1) -> bytes:
        if self._stop.is_set():
            raise InterruptedError(errno.EINTR, "cancelled")
        piece = whole(self._source, min(MIB, self._size - self._at), self._at)
        self._at += len(piece)
        return piece


def create(settings: ObjectsSettings, url: str, kind: str, source: int, stop: threading.Event) -> None:
    """Stores what the file open at `source` holds, create-only; `url` is signed, `kind` is the media type.

    Blocks while it goes. What the store answers is raised as the client would raise it.
    """
    size = os.fstat(source).st_size
    if size > MOST:
        raise InvalidError(
            f"the file has {size} bytes, and a grant stores at most {MOST} bytes on Azure: leave smaller files"
        )
    status, answer = _sent(settings, url, b"?", 1, {"content-md5": _MD5_OF_NOTHING})
    if status == _BAD_REQUEST:
        status, answer = _sent(settings, url, _Content(source, size, stop), size, {"content-type": kind})
        if status == _CREATED:
            return
    _raise(status, f"status code: {status} {answer}")


def _sent(
    settings: ObjectsSettings, url: str, content: "bytes | _Content", size: int, more: dict[str, str]
) -> tuple[int, str]:
    """The status of an answer, and its text if it is a refusal."""
    headers = {
        "content-length": str(size),
        "if-none-match": "*",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-version": VERSION,
    }
    request = urllib.request.Request(url, content, {**headers, **more}, method="PUT")  # noqa: S310 - checked by the settings
    context = ssl.create_default_context() if url.startswith("https:") else None
    if context and settings.ca:
        context.load_verify_locations(cadata=settings.authority())
    try:
        with urllib.request.urlopen(request, timeout=settings.timeout_s, context=context) as answer:  # noqa: S310
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(64 * 1024).decode(errors="replace")
    except (OSError, HTTPException) as error:
        from obstore.exceptions import GenericError

        raise GenericError(f"{getattr(error, 'reason', error)}") from error


def _raise(status: int, text: str) -> NoReturn:
    from obstore import exceptions as client

    if status == 404:
        raise FileNotFoundError(text)
    kinds = {
        401: client.UnauthenticatedError,
        403: client.PermissionDeniedError,
        409: client.AlreadyExistsError,
        412: client.AlreadyExistsError,
    }
    raise kinds.get(status, client.GenericError)(text)

"""The client of an object store, made from its settings; and what of a store can be said without calling it."""

import asyncio
import mimetypes
import sys
import time
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from ion.adapters.blobs import objects_sas
from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.errors import InvalidError, UnsupportedError

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    Store = AzureStore | GCSStore | S3Store

WEEK_S = 7 * 24 * 3600.0
"""S3 and GCS sign for no longer."""

LET_GO_S = 1.0
"""Nobody waits longer for the client's threads: they need microseconds, unless the machine is very busy."""

_BACKOFF = {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=5), "base": 3}
"""Each pause is random, between the first and `base` times the one before: with 2 they would not grow on the whole."""
_SIGNABLE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/")


def made(settings: ObjectsSettings) -> "Store":
    """The client; it has not called anybody yet. Raises InvalidError, UnsupportedError."""
    try:
        from obstore.exceptions import BaseError
    except ImportError as error:
        raise UnsupportedError(
            f"{settings.url} needs the package obstore: pip install 'ion-events[objects]'"
        ) from error
    if bool(settings.access_key_id) != bool(settings.secret_access_key):  # a secret may come later than the rest
        raise InvalidError("access_key_id and secret_access_key of the blobs belong together; give both or none")
    try:
        return _store(settings)
    except (BaseError, ValueError) as error:
        fault = str(error).partition("\n")[0]
        raise InvalidError(f"the settings of {settings.url} do not suit its client: {fault}") from error


def _store(settings: ObjectsSettings) -> "Store":
    from obstore.store import AzureStore, GCSStore, S3Store

    common: dict[str, Any] = {
        "client_options": _client_options(settings),
        "retry_config": {
            "max_retries": settings.retries,
            "retry_timeout": timedelta(seconds=settings.retry_for_s),
            "backoff": _BACKOFF,
        },
    }
    if settings.kind == "az":
        given = _given(
            account_name=settings.account,
            account_key=settings.account_key,
            sas_key=settings.sas.lstrip("?"),
            token=settings.token,
            endpoint=settings.endpoint,
        )
        return AzureStore(settings.bucket, **given, **common)
    if settings.kind == "s3":
        given = _given(
            region=settings.region or "us-east-1",
            access_key_id=settings.access_key_id,
            secret_access_key=settings.secret_access_key,
            session_token=settings.session_token,
            endpoint=settings.endpoint,
        )
        return S3Store(settings.bucket, **given, **common)
    given = _given(service_account=settings.service_account, bearer_token=settings.token, base_url=settings.endpoint)
    return GCSStore(settings.bucket, **given, **common)


def _given(**values: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _client_options(settings: ObjectsSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "allow_http": settings.allow_http,
        "timeout": timedelta(seconds=settings.timeout_s),
        "connect_timeout": timedelta(seconds=settings.connect_timeout_s),
        "user_agent": "ion",
    }
    if settings.ca:
        options["root_certificate"] = settings.authority().encode()
    return options


def content_type(path: str) -> str:
    """By the name's ending, so that a browser shows what a signed link leads to."""
    kind, encoding = mimetypes.guess_type(path.rpartition("/")[2], strict=False)
    return kind if kind and not encoding else "application/octet-stream"


def uri(settings: ObjectsSettings, key: str) -> str:
    """The lasting URI of a key: on Azure the blob's own URL, else that of the vendors' tools."""
    if settings.kind == "az":
        return f"{_azure(settings)}/{settings.bucket}/{quote(key)}"
    return f"{settings.kind}://{settings.bucket}/{quote(key)}"


def _azure(settings: ObjectsSettings) -> str:
    return (settings.endpoint or f"https://{settings.account}.blob.core.windows.net").rstrip("/")


async def signed(store: "Store", settings: ObjectsSettings, key: str, ttl_s: float) -> str:
    """A URL that reads the key without credentials, for `ttl_s` seconds. Raises InvalidError, UnsupportedError."""
    if ttl_s > WEEK_S and not settings.account_key:
        raise InvalidError(f"{settings.url} signs links for at most {WEEK_S:.0f} s, not for {ttl_s:.0f} s")
    if settings.account_key:
        until = datetime.now(UTC) + timedelta(seconds=ttl_s)
        return f"{uri(settings, key)}?{objects_sas.token(settings, objects_sas.Resource.BLOB, key, 'r', until)}"
    if settings.sas:
        raise UnsupportedError(
            f"{settings.url} is opened with a sas token, which signs no links: give it the account_key, "
            "or an identity that may ask for a user delegation key"
        )
    if settings.kind == "az" and not _SIGNABLE.issuperset(key):
        # The client signs the escaped name, where Azure wants the name itself.
        raise UnsupportedError(
            f"without the account_key, links of {settings.url} are signed only for names of plain letters and digits"
        )
    from obstore import sign_async

    return await sign_async(store, "GET", key, timedelta(seconds=ttl_s))


def host(settings: ObjectsSettings) -> str:
    """Where the store is, for messages."""
    return f"{settings.url} at {urlsplit(settings.endpoint).netloc}" if settings.endpoint else settings.url


async def let_go() -> None:
    """Waits until no thread of the client's is inside Python, which it enters to tell an answer.

    It leaves a moment after the answer was heard. Were the interpreter to end within that moment, the thread could not
    come back from there and would abort the process, long after its work was done.
    """
    until = time.monotonic() + LET_GO_S
    while _told_now() and time.monotonic() < until:  # noqa: ASYNC110  nobody tells when such a thread has left
        await asyncio.sleep(0.001)


def _told_now() -> bool:
    return any(_tells(frame) for frame in sys._current_frames().values())  # noqa: SLF001  there is no other way


def _tells(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "call_soon_threadsafe":
            return True
        frame = frame.f_back
    return False

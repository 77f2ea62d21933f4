"""The API server: a few verbs over JSON documents, and streams of lines.

The library knows every way of finding a cluster and proving who one is; what is said over the connection stays here,
because its own verbs can neither ask for bookmarks nor tell how long a busy server wants to be left alone. Documents
stay mappings: what a user wrote into a pod's template must not be lost in a model that does not know it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self

import msgspec

from ion.adapters.executors.backoff import RefusedError
from ion.errors import ConflictError, ExistsError, InvalidError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    import httpx2
    from lightkube.config.kubeconfig import SingleConfig

Document = dict[str, Any]
"""An object of Kubernetes as its JSON says it."""

TIMEOUT_S = 15.0
WATCH_S = 45
"""How long a watch lasts; then it is made anew."""
WATCH_SILENCE_S = WATCH_S + 5.0
LOG_SILENCE_S = 90.0
"""A stream that says nothing for so long may be dead. A watch would have ended by then; a log may be quiet."""
PAGE = 500
LINE_MOST = 8 * 2**20
_AT_ONCE = 16
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_METADATA_OF_ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_REFRESH_S = 5.0
_OF_LOGINS = (ValueError, KeyError, TypeError)
"""What the library raises where a program that logs in says something that is not as it should be."""
_OF_FILES = (*_OF_LOGINS, AttributeError, OSError)
"""And where a kubeconfig, or a file that it names, is empty, half written, not there, or something else."""
_LOG = logging.getLogger(__name__)


class GoneError(UnavailableError):
    """What a watch was to go on from is no longer kept: list anew."""


class Kubernetes:
    """One API server. Opened by `async with`; safe to call concurrently.

    `kubeconfig` and `context` are empty for what the machine says: a pod's own account, `KUBECONFIG`, `~/.kube/config`.
    Credentials are read again when the server no longer takes them.
    """

    def __init__(self, kubeconfig: str = "", context: str = "") -> None:
        self._kubeconfig, self._context = kubeconfig, context
        self._http: httpx2.AsyncClient | None = None
        self._old: list[httpx2.AsyncClient] = []
        self._read_at_s = self._ahead_s = 0.0
        self._room, self._room_for_text = asyncio.Semaphore(_AT_ONCE), asyncio.Semaphore(_AT_ONCE)
        self.namespace = "default"
        """The namespace that the configuration names."""
        self.server = ""

    async def __aenter__(self) -> Self:
        """Reads the configuration; nothing is asked yet. It may be done again after it failed, or the server did."""
        opened = await asyncio.to_thread(self._connect)
        await self.__aexit__()
        self._http = opened
        return self

    async def __aexit__(self, *_: object) -> None:
        for http in (*self._old, *([self._http] if self._http else [])):
            await http.aclose()
        self._http = None
        self._old.clear()

    def now_s(self) -> float:
        """Seconds since the epoch by the server's clock, as its answers tell it: the times of objects are by that."""
        return time.time() + self._ahead_s

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Document:
        return await self._call("GET", path, params=params)

    async def about(self, path: str) -> Document:
        """The metadata of an object, and nothing of what is in it."""
        return dict((await self._call("GET", path, headers={"Accept": _METADATA_OF_ONE}))["metadata"])

    async def create(self, path: str, document: Document) -> Document:
        """Raises ExistsError; InvalidError for what can never be."""
        try:
            return await self._call("POST", path, document)
        except ExistsError:
            raise
        except ConflictError as error:  # several at once are counted against a quota: all but one are to come again
            raise RefusedError(str(error), status=409) from error

    async def patch(self, path: str, document: Document) -> Document:
        """A JSON merge patch."""
        return await self._call("PATCH", path, document, kind="application/merge-patch+json")

    async def apply(self, path: str, document: Document, manager: str) -> Document:
        """A server-side apply: makes the object such, or anew; what another manager says otherwise is overruled."""
        params = {"fieldManager": manager, "force": "true"}
        return await self._call("PATCH", path, document, params=params, kind="application/apply-patch+yaml")

    async def delete(self, path: str, *, foreground: bool = False, uid: str = "") -> bool:
        """Whether it was there. With `uid` only that very object is meant."""
        options: Document = {"propagationPolicy": "Foreground" if foreground else "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            await self._call("DELETE", path, options)
        except (NotFoundError, ConflictError):
            return False
        return True

    async def list(self, path: str, selector: str, *, whole: bool = True) -> tuple[list[Document], str]:
        """Everything that the label selector fits (without `whole`, its metadata), and the version of all together."""
        found: list[Document] = []
        headers = {} if whole else {"Accept": _METADATA}
        params = {"labelSelector": selector, "limit": str(PAGE)}
        while True:
            answer = await self._call("GET", path, params=params, headers=headers)
            found += answer.get("items") or ()
            about = answer.get("metadata") or {}
            if not about.get("continue"):
                return found, str(about.get("resourceVersion", ""))
            params["continue"] = about["continue"]

    async def watch(self, path: str, selector: str, version: str) -> AsyncIterator[Document]:
        """Events since `version`, bookmarks among them, for `WATCH_S` seconds at most.

        Raises:
            GoneError: that version is too old. UnavailableError: the connection broke, or was refused.
        """
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_S),
        }
        async with self.stream(path, params, silence_s=WATCH_SILENCE_S) as lines:
            async for line in lines:
                event = _document(line, path)
                if event["type"] == "ERROR":
                    raise _refusal(int(event["object"].get("code", 500)), event["object"], path)
                yield event

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, str], *, silence_s: float = LOG_SILENCE_S
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of an answer that goes on, each without its end. What is unfinished at the end comes as well, and a
        line of more than `LINE_MOST` bytes in several pieces.
        """
        import httpx2

        timeout = httpx2.Timeout(TIMEOUT_S, read=silence_s)
        with self._translated(path):
            async with AsyncExitStack() as stack:
                asked = self._client().stream("GET", path, params=dict(params), timeout=timeout)
                with self._logged_in():
                    answer = await stack.enter_async_context(asked)
                if answer.status_code >= 400:
                    raise await self._refused(answer, path)
                yield _lines(answer.aiter_bytes())

    async def text(self, path: str, params: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The same of an answer that ends soon; not where a node is lost, for which nothing else has to wait."""
        async with self._room_for_text, self.stream(path, params) as lines:
            async for line in lines:
                yield line

    # ---- how ----------------------------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        document: Document | None = None,
        *,
        params: Mapping[str, str] | None = None,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Document:
        body = None if document is None else msgspec.json.encode(document)
        headers = {**(headers or {}), **({"Content-Type": kind} if body is not None else {})}
        async with self._room:
            with self._translated(path), self._logged_in():
                answer = await self._client().request(
                    method, path, params=dict(params or {}), content=body, headers=headers
                )
            with suppress(ValueError):  # it says no date
                self._ahead_s = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp() - time.time()
            if answer.status_code < 400:
                return _document(answer.content, path)
            raise await self._refused(answer, path)

    async def _refused(self, answer: "httpx2.Response", path: str) -> Exception:
        content = await answer.aread()
        if answer.status_code == 401:
            await self._read_again()
        try:
            status = msgspec.json.decode(content, type=Document)
        except msgspec.MsgspecError:
            status = {"message": content.decode(errors="replace")[:500]}
        return _refusal(answer.status_code, status, path, answer.headers.get("Retry-After", ""))

    async def _read_again(self) -> None:
        """The configuration anew, its tokens with it; what still goes over the old connections ends there."""
        if time.monotonic() - self._read_at_s < _REFRESH_S:
            return
        http = await asyncio.to_thread(self._connect)
        if self._http is not None:
            self._old.append(self._http)
        self._http = http
        while len(self._old) > 2:
            await self._old.pop(0).aclose()

    def _client(self) -> "httpx2.AsyncClient":
        if self._http is None:
            raise UnavailableError("the connection to Kubernetes is not open")
        return self._http

    def _connect(self) -> "httpx2.AsyncClient":
        import httpx2
        from lightkube.config.client_adapter import ConnectionParams

        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would tell of every request
        self._read_at_s = time.monotonic()
        with _read():
            config = self._config()
            params = ConnectionParams(timeout=httpx2.Timeout(TIMEOUT_S), trust_env=False).httpx_params(config)
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=2 * _AT_ONCE, keepalive_expiry=30.0)
            http = httpx2.AsyncClient(**params, limits=limits)
        self.namespace, self.server = config.namespace or "default", config.cluster.server
        return http

    def _config(self) -> "SingleConfig":
        from lightkube.config.kubeconfig import KubeConfig

        found = KubeConfig.from_file(self._kubeconfig) if self._kubeconfig else KubeConfig.from_env()
        config = found.get(self._context or None)
        if config is None or config.user is None:
            raise UnavailableError("the kubeconfig's context names no user: choose one by `kubernetes: {context: ...}`")
        return config

    @contextmanager
    def _logged_in(self) -> Iterator[None]:
        """The kubeconfig may name a program that says who one is, and that may say anything."""
        try:
            yield
        except _OF_LOGINS as error:
            message = f"the program of the kubeconfig that logs in to {self.server} says no token: {error!r}"
            raise UnavailableError(message) from error

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        import httpx2
        from lightkube.core.exceptions import ConfigError

        try:
            yield
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, ConfigError, OSError) as error:
            why = str(error) or type(error).__name__
            raise UnavailableError(f"the API server {self.server} does not answer ({path}): {why}") from error


@contextmanager
def _read() -> Iterator[None]:
    """Whatever is wrong with the configuration, it may be put right while this runs."""
    from httpx2 import InvalidURL
    from lightkube.core.exceptions import ConfigError
    from yaml import YAMLError

    try:
        yield
    except (ConfigError, InvalidURL, YAMLError, *_OF_FILES) as error:
        why = "it is no YAML" if isinstance(error, YAMLError) else error  # which would quote it, and a token with it
        raise UnavailableError(f"no cluster is configured: {why}; set `kubernetes: {{kubeconfig: ...}}`") from None


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    held = bytearray()
    async for chunk in chunks:
        whole, end, rest = chunk.rpartition(b"\n")
        if end:
            held += whole
            for line in held.split(b"\n"):
                yield bytes(line)
            held.clear()
        held += rest
        if len(held) > LINE_MOST:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def _document(content: bytes, path: str) -> Document:
    """Raises UnavailableError for what is none: half of one, or the page of something that stands before the server."""
    try:
        return msgspec.json.decode(content, type=Document)
    except msgspec.MsgspecError as error:
        said = content[:200].decode(errors="replace")
        raise UnavailableError(f"the answer to {path} is not the API server's: {error}: {said!r}") from error


def _refusal(status: int, said: Document, path: str, after: str = "") -> Exception:
    """The error of a status document."""
    message = f"Kubernetes refuses {path}: {said.get('message') or f'status {status}'}"
    reason = said.get("reason", "")
    if status == 404:
        return NotFoundError(message)
    if status == 409:
        return ExistsError(message) if reason == "AlreadyExists" else ConflictError(message)
    if status in (400, 413, 422):
        return InvalidError(message)
    if status == 410:
        return GoneError(message)
    if status == 403 and "exceeded quota" not in message:
        message = f"{message}; give Ion's service account that right"
    if status == 401:
        message = f"{message}; its credentials are no longer taken, renew them"
    return RefusedError(message, status=status, after_s=float(after) if after.isdigit() else 0.0)

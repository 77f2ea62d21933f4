"""Azure Batch's REST API of 2025-06-01, as much of it as is used here, on this machine's loopback.

The vendor's client speaks to it unchanged. Tests tell it to be busy (`refuse`) or to break off in the middle of files
(`breaks`), and read what was asked (`asked`, each by the monotonic clock).
"""

import contextlib
import json
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.batch_double import odata
from tests.batch_double.account import Account
from tests.batch_double.signature import is_signed
from tests.batch_double.wanted import Document, Refused
from tests.ports import free_port

VERSION = "2025-06-01"
PAGE_MOST, GROUP_MOST, BODY_MOST = 1000, 100, 1024 * 1024
SKEW_MOST_S = 900.0
"""Requests whose time differs by more are not authentic."""
_ROUTES: tuple[tuple[str, str, str], ...] = (
    ("GET", r"/pools/([^/]+)", "pool"),
    ("GET", r"/jobs", "jobs"),
    ("POST", r"/jobs", "add_job"),
    ("POST", r"/jobs/([^/]+)/addtaskcollection", "add_tasks"),
    ("GET", r"/jobs/([^/]+)/tasks", "tasks"),
    ("GET", r"/jobs/([^/]+)/tasks/([^/]+)", "task"),
    ("POST", r"/jobs/([^/]+)/tasks/([^/]+)/terminate", "terminate"),
    ("DELETE", r"/jobs/([^/]+)/tasks/([^/]+)", "delete"),
    ("HEAD", r"/jobs/([^/]+)/tasks/([^/]+)/files/(.+)", "file_properties"),
    ("GET", r"/jobs/([^/]+)/tasks/([^/]+)/files/(.+)", "file"),
)


class BatchDouble:
    """Opened by `with`; `url` is where it is then. `page` is how many documents a list gives at once."""

    def __init__(self, folder: Path) -> None:
        self.account = Account(folder)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.page = PAGE_MOST
        self.asked: deque[tuple[float, str]] = deque(maxlen=10_000)
        self.breaks = 0
        self._refusals: deque[tuple[re.Pattern[str], Refused]] = deque()
        self.task_refusals: deque[Refused] = deque()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), type("Handler", (_Handler,), {"double": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="batch double", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.account.close()

    def refuse(self, what: str, status: int, code: str, *, after_s: float | None = None, times: int = 1) -> None:
        """The next requests whose line (`POST /jobs/…`) `what` is found in get this answer."""
        for _ in range(times):
            self._refusals.append((re.compile(what), Refused(status, code, "The service says no.", after_s)))

    def refuse_no_more(self) -> None:
        self._refusals.clear()

    def refuse_task(self, status: int, code: str) -> None:
        """The next task of a collection is not added."""
        self.task_refusals.append(Refused(status, code, "The service says no."))

    def refusal(self, line: str) -> Refused | None:
        for entry in list(self._refusals):
            if entry[0].search(line):
                with contextlib.suppress(ValueError):  # they were taken back just now
                    self._refusals.remove(entry)
                return entry[1]
        return None

    def count(self, what: str) -> int:
        """How many requests had such a line."""
        return sum(bool(re.search(what, line)) for _, line in list(self.asked))


class _Handler(BaseHTTPRequestHandler):
    double: BatchDouble
    protocol_version = "HTTP/1.1"
    query: dict[str, str]

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 - names of the library

    def _serve(self) -> None:
        place = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(place.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        line = f"{self.command} {unquote(self.path)}"
        self.double.asked.append((time.monotonic(), line))
        try:
            self._check(place.path, place.query, body)
            if (refused := self.double.refusal(line)) is not None:
                raise refused
            self._route(place.path, body)
        except Refused as refused:
            self._refuse(refused)
        except odata.FilterError as error:
            self._refuse(Refused(400, "InvalidQueryParameterValue", f"The $filter is not supported: {error}"))

    def _check(self, path: str, query: str, body: bytes) -> None:
        if not is_signed(self.command, path, query, dict(self.headers)):
            raise Refused(403, "AuthenticationFailed", "Server failed to authenticate the request.")
        sent = parsedate_to_datetime(self.headers.get("ocp-date") or self.headers.get("date") or "")
        if abs(sent.timestamp() - self._now_s()) > SKEW_MOST_S:
            raise Refused(403, "AuthenticationFailed", "The date header in the request is incorrect.")
        if self.query.get("api-version") != VERSION:
            raise Refused(400, "InvalidQueryParameterValue", "The api-version is not supported.")
        if body and "odata=minimalmetadata" not in self.headers.get("Content-Type", ""):
            raise Refused(415, "InvalidHeaderValue", "Content-Type must be application/json; odata=minimalmetadata")

    def _route(self, path: str, body: bytes) -> None:
        for method, pattern, name in _ROUTES:
            if method == self.command and (found := re.fullmatch(pattern, path)):
                if len(body) > BODY_MOST:
                    raise Refused(413, "RequestBodyTooLarge", "The request body is too large.")
                arguments = [unquote(part) for part in found.groups()]
                getattr(self, f"_{name}")(*arguments, *([json.loads(body)] if body else []))
                return
        raise Refused(405, "UnsupportedHttpVerb", f"{self.command} {path} is not in this double")

    # ---- verbs ----------------------------------------------------------------------------------------------

    def _pool(self, name: str) -> None:
        self._say(200, self.double.account.pool(name))

    def _add_job(self, wanted: Document) -> None:
        self.double.account.add_job(wanted)
        self._say(201)

    def _jobs(self) -> None:
        with self.double.account.lock:
            self._list(list(self.double.account.jobs.values()), odata.JOBS, "jobs")

    def _tasks(self, job: str) -> None:
        self._list(self.double.account.documents(job), odata.TASKS, f"jobs/{job}/tasks")

    def _task(self, job: str, name: str) -> None:
        with self.double.account.lock:
            self._say(200, self._selected(self.double.account.task(job, name).document))

    def _add_tasks(self, job: str, wanted: Document) -> None:
        self.double.account.job(job)
        if len(wanted["value"]) > GROUP_MOST:
            raise Refused(400, "InvalidRequestBody", "A collection has at most 100 tasks.")
        answers = [self._added(job, task) for task in wanted["value"]]
        self._say(200, {"value": answers[::-1]})  # the service promises no order

    def _added(self, job: str, wanted: Document) -> Document:
        try:
            if self.double.task_refusals:
                raise self.double.task_refusals.popleft()
            document = self.double.account.add_task(job, wanted)
        except Refused as refused:
            status = "ClientError" if refused.status < 500 else "ServerError"
            return {"status": status, "taskId": wanted["id"], "error": _error(refused)}
        return {"status": "Success", "taskId": wanted["id"], "eTag": document["eTag"]}

    def _terminate(self, job: str, name: str) -> None:
        self.double.account.terminate(job, name)
        self._say(204)

    def _delete(self, job: str, name: str) -> None:
        self.double.account.delete(job, name)
        self._say(200)

    def _file_properties(self, job: str, name: str, path: str) -> None:
        self._say_file(200, b"", self.double.account.file(job, name, path).stat().st_size)

    def _file(self, job: str, name: str, path: str) -> None:
        file = self.double.account.file(job, name, path)
        size, first, last = file.stat().st_size, 0, -1
        if found := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("ocp-range") or ""):
            first, last = int(found[1]), int(found[2])
            if first >= size:
                raise Refused(416, "InvalidRange", "The specified byte range is invalid for the given resource.")
        with file.open("rb") as stream:
            stream.seek(first)
            content = stream.read(size - first if last < 0 else last + 1 - first)
        if self.double.breaks and len(content) > 1:
            self.double.breaks -= 1
            self._say_file(200, content[: len(content) // 2], len(content))
            self.close_connection = True
            return
        self._say_file(200, content, len(content))  # 206 is no answer of this API

    def _now_s(self) -> float:
        return time.time() + self.double.account.ahead_s

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(self._now_s() if timestamp is None else timestamp, usegmt=True)

    # ---- answers --------------------------------------------------------------------------------------------

    def _list(self, documents: list[Document], allowed: Any, place: str) -> None:
        passes = odata.wanted(self.query.get("$filter", ""), allowed)
        found = sorted((one for one in documents if passes(one)), key=lambda one: str(one["id"]))
        most = min(self.double.page, int(self.query.get("maxresults", PAGE_MOST)))
        after = self.query.get("$skiptoken", "")
        left = [one for one in found if one["id"] > after]
        answer: Document = {"value": [self._selected(one) for one in left[:most]]}
        if len(left) > most:
            kept = "&".join(part for part in urlsplit(self.path).query.split("&") if "skiptoken" not in part)
            answer["odata.nextLink"] = f"{self.double.url}/{place}?{kept}&$skiptoken={left[most - 1]['id']}"
        self._say(200, answer)

    def _selected(self, document: Document) -> Document:
        wanted = self.query.get("$select")
        return document if not wanted else {name: document[name] for name in wanted.split(",") if name in document}

    def _refuse(self, refused: Refused) -> None:
        headers = {} if refused.after_s is None else {"Retry-After": f"{refused.after_s:g}"}
        self._say(refused.status, _error(refused), headers)

    def _say(self, status: int, document: Document | None = None, headers: dict[str, str] | None = None) -> None:
        content = b"" if document is None else json.dumps(document).encode()
        kind = {"Content-Type": "application/json; odata=minimalmetadata"} if content else {}
        self._send(status, content, {**kind, "Content-Length": str(len(content)), **(headers or {})})

    def _say_file(self, status: int, content: bytes, size: int) -> None:
        about = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size),
            "ocp-batch-file-isdirectory": "false",
            "ocp-batch-file-url": self.double.url,
            "ocp-batch-file-mode": "0o100644",
        }
        self._send(status, content, about)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Last-Modified": formatdate(usegmt=True), "request-id": "1"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):  # who asked has gone
                self.wfile.write(content)


def _error(refused: Refused) -> Document:
    message = f"{refused.message}\nRequestId:1\nTime:2026-01-01T00:00:00.0000000Z"
    return {"code": refused.code, "message": {"lang": "en-US", "value": message}}


@contextmanager
def batch_double(folder: Path) -> Iterator[BatchDouble]:
    """One with the pool `ion`."""
    with BatchDouble(folder) as double:
        double.account.add_pool("ion")
        yield double

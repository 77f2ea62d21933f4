"""A port of figures, for Prometheus and for platforms that look after this process.

GET /metrics     figures, in Prometheus' text format
GET /healthz     200 while the ledger answers, else 503
GET /livez       200 while this process does
GET /open/NAME   {"open": jobs of a module that want dispatchers}, where management keeps those: for a scaler
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ion.errors import IonError, NotFoundError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response


def metrics_app(
    page: Callable[[], Awaitable[bytes]],
    content_type: str,
    ready: Callable[[], Awaitable[object]],
    open_jobs: Callable[[str], Awaitable[int]] | None = None,
) -> "Starlette":
    """An application that serves these and nothing else.

    `ready` raises IonError while work cannot be done. `open_jobs` counts a module's; NotFoundError if it is not there.
    """
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    async def answer(_: "Request") -> "Response":
        return Response(await page(), headers={"content-type": content_type})

    async def health(_: "Request") -> "Response":
        await ready()
        return JSONResponse({"status": "ok"})

    async def alive(_: "Request") -> "Response":
        return JSONResponse({"status": "ok"})

    async def jobs(request: "Request") -> "Response":
        if open_jobs is None:
            raise NotFoundError("no dispatchers are kept here")
        return JSONResponse({"open": await open_jobs(request.path_params["module"])})

    def refused(_: "Request", error: Exception) -> "Response":
        status = 404 if isinstance(error, NotFoundError) else 503
        return JSONResponse({"error": str(error)}, status_code=status)

    pages = {"/metrics": answer, "/healthz": health, "/livez": alive, "/open/{module}": jobs}
    routes = [Route(path, page, methods=["GET"]) for path, page in pages.items()]
    return Starlette(routes=routes, exception_handlers={IonError: refused})

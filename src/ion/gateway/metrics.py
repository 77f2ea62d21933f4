"""`GET /metrics`: a page of figures, on a port of its own."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response


def metrics_app(page: Callable[[], Awaitable[bytes]], content_type: str) -> "Starlette":
    """An application that serves the page and nothing else."""
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    async def answer(_: "Request") -> "Response":
        return Response(await page(), headers={"content-type": content_type})

    return Starlette(routes=[Route("/metrics", answer, methods=["GET"])])

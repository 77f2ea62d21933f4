"""Counts the calls of the management API, by method and the code that they ended with."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from ion.management.metrics.counts import Counts

OURS = ("/ion.v1.", "/ModuleService/", "/TraceService/")
"""All others (health, reflection, what does not exist) are not counted: strangers could invent any number of names."""

_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class CountingRequests(grpc.aio.ServerInterceptor):
    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler, method = await continuation(handler_call_details), handler_call_details.method
        if handler is None or not method.startswith(OURS):
            return handler
        name, make = _kind(handler)
        counted = self._counted(method.removeprefix("/"), getattr(handler, name))
        return make(counted, handler.request_deserializer, handler.response_serializer)

    def _counted(self, method: str, answer: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Any]:
        async def counted(request: Any, context: Any) -> Any:
            begun, code = time.perf_counter(), "OK"
            try:
                return await answer(request, context)
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except BaseException:
                code = _name(context.code())
                raise
            finally:
                self._counts.requests.labels(method, code).inc()
                self._counts.request_s.labels(method).observe(time.perf_counter() - begun)

        return counted


def _kind(handler: Any) -> tuple[str, Callable[..., Any]]:
    """Which attribute of a handler answers, and what makes one of its kind."""
    if handler.request_streaming:
        return "stream_unary", grpc.stream_unary_rpc_method_handler
    if handler.response_streaming:
        return "unary_stream", grpc.unary_stream_rpc_method_handler
    return "unary_unary", grpc.unary_unary_rpc_method_handler


def _name(code: Any) -> str:
    """A status that the call was ended with; gRPC gives it as a number or as what it stands for."""
    return code.name if isinstance(code, grpc.StatusCode) else _CODES.get(code, "UNKNOWN")

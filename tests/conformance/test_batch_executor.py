"""The Azure Batch executor against the suite of every adapter, on a local service that speaks its API.

The vendor's client, Azurite, and containers are real; Azure itself cannot be had.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from tests.batch_double.place import Place, abandon, becomes, double, place, task_images
from tests.batch_double.service import BatchDouble

from ion.ports.executor import Assignment, Executor
from ion.testing.conformance.executor import ExecutorConformance

__all__ = ["double", "place", "task_images"]


class TestBatchExecutor(ExecutorConformance):
    @pytest.fixture(autouse=True)
    def _where(self, double: BatchDouble, place: Place) -> None:
        self.double, self.place = double, place

    def open_executor(self) -> AbstractAsyncContextManager[Executor]:
        return self.place.open()

    async def stored(self, path: str) -> bytes:
        return await self.place.stored(path)

    async def abandon(self, script: str) -> Assignment:
        async with asyncio.timeout(240.0):
            return await abandon(self.place, self.assignment(script))

    async def ended(self, work: Assignment) -> None:
        await becomes(lambda: self.double.account.one("completed") is not None)

    def assignment(self, script: str, **more: Any) -> Assignment:
        return self.place.assignment(script, **more)

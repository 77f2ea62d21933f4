"""Runs modules as tasks of Azure Batch.

`BatchExecutor` is imported on first use: the pipeline file needs the settings alone.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ion.adapters.executors.azurebatch.executor import BatchExecutor

__all__ = ["BatchExecutor"]


def __getattr__(name: str) -> object:
    if name == "BatchExecutor":
        from ion.adapters.executors.azurebatch.executor import BatchExecutor

        return BatchExecutor
    raise AttributeError(name)

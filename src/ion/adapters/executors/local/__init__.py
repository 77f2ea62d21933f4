"""Runs modules on this machine: as processes, or in containers of podman or docker.

`LocalExecutor` is imported on first use, so that the guard (a process of its own) starts without all of it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ion.adapters.executors.local.executor import LocalExecutor

__all__ = ["LocalExecutor"]


def __getattr__(name: str) -> object:
    if name == "LocalExecutor":
        from ion.adapters.executors.local.executor import LocalExecutor

        return LocalExecutor
    raise AttributeError(name)

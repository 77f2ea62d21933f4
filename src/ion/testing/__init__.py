"""For tests: of modules (`run_module`), and of Ion's own adapters (the conformance suites).

Imported on first use, so that a test of a module starts without the suites, which need pytest.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ion.testing.run import ModuleFailedError, ModuleRun, RaisedEvent, run_module

__all__ = ["ModuleFailedError", "ModuleRun", "RaisedEvent", "run_module"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from ion.testing import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

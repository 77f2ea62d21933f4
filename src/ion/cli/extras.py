"""Parts of Ion that need packages which are installed when asked for."""

import importlib.util

from ion.errors import UnsupportedError


def need_management(*packages: str) -> None:
    """Raises UnsupportedError if a package of the management API is not installed."""
    if not has_packages(*packages):
        raise UnsupportedError("this needs packages that are not here: install ion-events[management]")


def has_packages(*packages: str) -> bool:
    """Whether these are installed; none is imported."""
    return all(importlib.util.find_spec(package) for package in packages)

"""The handler of this very checkout in pods, without an image of it: the node is this machine, so its pods borrow the
interpreter and the packages from it.
"""

import sys
import sysconfig
from pathlib import Path
from typing import Any

import ion

PROGRAM = """#!/bin/sh
exec /python/bin/python{version} -c 'from ion.cli.main import program; program()' "$@"
""".format(version=f"{sys.version_info.major}.{sys.version_info.minor}")
"""`ion`, for an image that has a shell and nothing else."""


def borrowed() -> dict[str, Any]:
    """A pod template that lets prepare and commit run what runs here."""
    return _template(["prepare"], ["commit"])


def borrowed_dispatcher() -> dict[str, Any]:
    """The same for the pods of dispatchers."""
    return _template([], ["dispatcher"])


def _template(first: list[str], main: list[str]) -> dict[str, Any]:
    folders = {
        "/python": Path(sys.base_prefix),
        "/site": Path(sysconfig.get_path("purelib")),
        "/ion-src": Path(ion.__file__).parent.parent,
        "/usr/lib": Path("/usr/lib"),
        "/etc/ssl": Path("/etc/ssl"),
        "/lib": Path("/usr/lib"),
        "/lib64": Path("/usr/lib64"),
    }
    names = {path: f"borrowed{path.replace('/', '-')}" for path in folders}
    mounts = [{"name": names[path], "mountPath": path, "readOnly": True} for path in folders]
    return {
        "spec": {
            **({"initContainers": [_container(role, mounts) for role in first]} if first else {}),
            "containers": [_container(role, mounts) for role in main],
            "volumes": [{"name": names[path], "hostPath": {"path": str(here)}} for path, here in folders.items()],
        }
    }


def _container(role: str, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    variables = {
        "PYTHONHOME": "/python",
        "LD_LIBRARY_PATH": "/python/lib",
        "PYTHONPATH": "/ion-src:/site",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return {
        "name": role,
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "volumeMounts": mounts,
    }

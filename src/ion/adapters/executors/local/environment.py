"""The environment of a module: little of ours, all of its own.

A process gets the search path and the language settings of this machine, and a scratch folder for its home and its
temporary files; a container has its image's. Then the module's variables, its secrets, and the contract's, each over
the one before.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from ion.errors import UnavailableError
from ion.model.module import Module

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ")

Secrets = Callable[[str], str | None]
"""Gives the value of a secret by its name, None where there is none."""


def missing_secret(module: Module, secrets: Secrets) -> str:
    """One sentence about the first secret that cannot be had; empty if all can."""
    for variable, name in module.secrets.items():
        if secrets(name) is None:
            return (
                f"module {module.name} needs the secret {name!r} (as {variable}): put it where "
                "the pipeline's `secrets` say, else in a variable of that name where Ion runs, else in a file of that "
                "name in ION_SECRETS_DIR"
            )
    return ""


def secret_values(module: Module, secrets: Secrets) -> dict[str, str]:
    """The module's secrets by variable. UnavailableError, with what to do, where one is missing."""
    values = {variable: secrets(name) for variable, name in module.secrets.items()}
    if fault := missing_secret(module, secrets):
        raise UnavailableError(fault)
    return {variable: value for variable, value in values.items() if value is not None}


def of_process(environ: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """What every process starts from."""
    passed = {name: environ[name] for name in _PASSED_ON if name in environ}
    return {**passed, "HOME": str(scratch), "TMPDIR": str(scratch)}


def of_devices(devices: tuple[str, ...], *, any_here: bool) -> dict[str, str]:
    """Shows the module its own gpu devices, and no others of a machine that has some."""
    return {"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices or any_here else {}

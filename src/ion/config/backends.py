"""Which adapter stands behind a port: the sections that choose one.

What an adapter's settings list in `secrets` is never written anywhere: where the pipeline file does not give it, or is
not read, it comes from the environment as `ION_`, the port and the key's name: `ION_BUS_PASSWORD`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ion.config.kinds import Choice
from ion.config.tables import Field, Section


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """Which adapter stands behind a port, and its own settings where it has any."""

    kind: str
    options: Any = None


def kind_of(
    port: str,
    kind: str,
    doc: str,
    *,
    fields: Mapping[str, Field] | None = None,
    options: Callable[..., Any] = lambda: None,
    struct: type[msgspec.Struct] | None = None,
    required: tuple[str, ...] = (),
) -> Section[Backend]:
    """The section of one kind. `options` makes the adapter's settings, a `struct`, of the fields' values."""

    def build(*, kind: str, **values: Any) -> Backend:
        return Backend(kind=kind, options=options(**values))

    chosen = Field(kind=Choice(words=(kind,)), doc=f"This kind: {kind}.")
    table = {"kind": chosen, **(fields or {})}
    return Section(
        name=f"{port}_{kind}", doc=doc, fields=table, build=build, struct=struct, required=("kind", *required)
    )


def with_secrets(port: str, backend: Backend, environ: Mapping[str, str]) -> Backend:
    """The backend with its secrets from the environment, where it has not been given them."""
    options = backend.options
    found = {
        name: value
        for name in getattr(options, "secrets", ())
        if not getattr(options, name) and (value := environ.get(f"ION_{port}_{name}".upper()))
    }
    return Backend(kind=backend.kind, options=msgspec.structs.replace(options, **found)) if found else backend


def without_secrets(backend: Backend) -> dict[str, Any]:
    """What may be written down of a backend's settings."""
    options: dict[str, Any] = msgspec.to_builtins(backend.options) if backend.options is not None else {}
    return {name: value for name, value in options.items() if name not in backend.options.secrets}


def recalled(sections: Mapping[str, Section[Backend]], kind: str, options: Mapping[str, Any]) -> Backend:
    """The backend that `without_secrets` wrote down. Raises msgspec.ValidationError where another version did."""
    struct = sections[kind].struct if kind in sections else None
    return Backend(kind=kind, options=msgspec.convert(options, struct) if struct else None)

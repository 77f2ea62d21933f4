"""The file of a client's options: `~/.ioncli.yaml`, or the one that `--config` names.

    endpoint: ion.acme:9000     # the original's: endpoint, timeout, certfile, keyfile, cacertfile; and store
    certfile: certs/me.crt      # paths are beside this file, `~` is the home folder
    context: lab                # the one in use, if any
    contexts:
      lab: {endpoint: "lab:9000", timeout: 5s}
      here: {store: ~/ion/.ion}

Keys may be written in any case, as the original took them. What a context does not say, the top level says.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ion.errors import InvalidError, NotFoundError, UnsupportedError
from ion.messaging.nearest import suggestion

CONFIG = ".ioncli.yaml"
"""In the home folder, unless `--config` names another."""
OPTIONS = ("endpoint", "store", "timeout", "certfile", "keyfile", "cacertfile")
PATHS = frozenset({"store", "certfile", "keyfile", "cacertfile"})

_CONTEXT_LINE = re.compile(r"^context[ \t]*:.*(?:\n|\Z)", re.IGNORECASE | re.MULTILINE)


class ClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What such a file says, by option; `context` is the one in use, empty for none."""

    file: Path
    options: Mapping[str, str] = {}
    contexts: Mapping[str, Mapping[str, str]] = {}
    context: str = ""

    def of_context(self, name: str) -> Mapping[str, str]:
        """Raises NotFoundError, with the nearest name."""
        if name not in self.contexts:
            raise NotFoundError(
                f"there is no context '{name}' in {self.file}; {suggestion(name, self.contexts)}; "
                "`ion context list` shows those there are"
            )
        return self.contexts[name]


def load_config(given: Path | None) -> ClientConfig:
    """The file named, which must be there, else the one in the home folder, if it is.

    Raises:
        InvalidError: it cannot be read, or says what nobody understands.
    """
    file = (given or Path.home() / CONFIG).expanduser().absolute()
    if given is None and not file.is_file():
        return ClientConfig(file=file)
    import yaml

    try:
        return _read(file, yaml.safe_load(file.read_bytes()) or {})
    except (OSError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidError(f"the configuration {file} cannot be read: {reason}") from error


def _read(file: Path, content: Any) -> ClientConfig:
    where = f"the configuration {file}"
    top = _lowered(content, where)
    contexts = _table(top.pop("contexts", None) or {}, f"{where}, `contexts`")
    context = top.pop("context", None)
    return ClientConfig(
        file=file,
        options=_options(top, where, file.parent, more=("context", "contexts")),
        contexts={
            str(name): _options(
                _lowered(said or {}, f"{where}, context {name}"), f"{where}, context {name}", file.parent
            )
            for name, said in contexts.items()
        },
        context="" if context is None else str(context),
    )


def _table(said: Any, where: str) -> dict[Any, Any]:
    if not isinstance(said, dict):
        raise InvalidError(f"{where} must be a mapping of names to values, not {type(said).__name__}")
    return said


def _lowered(said: Any, where: str) -> dict[str, Any]:
    lowered: dict[str, Any] = {}
    for key, value in _table(said, where).items():
        name = str(key).lower()
        if name in lowered:
            raise InvalidError(f"{where} says '{name}' twice: leave one out")
        lowered[name] = value
    return lowered


def _options(said: Mapping[str, Any], where: str, folder: Path, more: tuple[str, ...] = ()) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in said.items():
        if name not in OPTIONS:
            raise InvalidError(f"{where} has the unknown key '{name}'; {suggestion(name, (*OPTIONS, *more))}")
        if isinstance(value, dict | list | bool):
            raise InvalidError(f"{where}: '{name}' must be a text or a number")
        if value not in (None, ""):
            options[name] = str(folder / Path(str(value)).expanduser()) if name in PATHS else str(value)
    if "endpoint" in options and "store" in options:
        raise InvalidError(f"{where} names an endpoint and a store: a command works on one; leave the other out")
    return options


def use_context(config: ClientConfig, name: str) -> None:
    """Makes a context the one in use, or none (an empty name); everything else in the file stays as it is written.

    Raises:
        NotFoundError: there is none of that name. UnsupportedError: the file cannot be written.
    """
    if name:
        config.of_context(name)
    elif not config.context:
        return
    import yaml

    line = f"context: {yaml.safe_dump(name, width=10_000).splitlines()[0]}\n" if name else ""
    try:
        text = config.file.read_text(encoding="utf-8") if config.file.exists() else ""
        changed = _CONTEXT_LINE.sub(lambda _: line, text, count=1) if _CONTEXT_LINE.search(text) else line + text
        if not _says(config.file, changed, msgspec.structs.replace(config, context=name)):
            raise UnsupportedError(
                f"{config.file} is written in a way that cannot be changed here: set `context` by hand"
            )
        _replace(config.file.resolve(), changed)
    except OSError as error:
        raise UnsupportedError(f"the configuration {config.file} cannot be written: {error.strerror}") from error


def _says(file: Path, text: str, wanted: ClientConfig) -> bool:
    import yaml

    try:
        return _read(file, yaml.safe_load(text) or {}) == wanted
    except yaml.YAMLError:
        return False


def _replace(file: Path, text: str) -> None:
    """In one step, with the rights that the file had."""
    descriptor, draft = tempfile.mkstemp(prefix=f"{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(draft).chmod(file.stat().st_mode & 0o777)
        Path(draft).replace(file)
    except BaseException:
        Path(draft).unlink()
        raise

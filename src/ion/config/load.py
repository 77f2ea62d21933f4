"""From a pipeline file to a `Pipeline`: includes, profile, variables, defaults; then one typed decode.

Each step is a JSON merge patch. An included file lies under the file that includes it, and a later include over an
earlier one, so modules of one name are merged key by key and the including file wins. The profile lies over the
result; each module lies over `defaults`. Variables are filled in when only what counts is left. Of the environment,
`ION_PROFILE` chooses a profile where the caller named none, and `ION_ENDPOINT` replaces the file's endpoint.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ion.config.kinds import Located
from ion.config.module_table import build_module
from ion.config.nodes import Node, Scalar, Table, fault, shape, shorten
from ion.config.patch import is_empty, is_null, merge
from ion.config.pipeline import PIPELINE, VERSION, Pipeline
from ion.config.settings import SETTINGS, Settings
from ion.config.tables import Many
from ion.config.variables import expand
from ion.errors import InvalidError, PipelineError
from ion.messaging.nearest import suggestion
from ion.model.module import Module

FILES_MOST = 100
FILE_ONLY = ("ion", "include", "profiles")


def load_pipeline(
    path: Path, *, profile: str = "", environ: Mapping[str, str], settings_only: bool = False
) -> Pipeline:
    """Reads a pipeline file.

    Args:
        path: the file; relative paths in it start at its folder.
        profile: the profile to lay over it; without one, `ION_PROFILE` of `environ` names it.
        environ: the variables that values may use.
        settings_only: whether it may be without modules, as who serves those of a registry has it.

    Raises:
        PipelineError: the file, an included one or the profile is wrong; the message begins with FILE:LINE.
    """
    chosen = profile or environ.get("ION_PROFILE", "")
    tree = _with_profile(_Files(environ).read(path), chosen)
    filled = expand(tree.without("include", "profiles"), environ)
    assert isinstance(filled, Table)
    pipeline = _typed(_with_defaults(filled), path, profile=chosen, endpoint=environ.get("ION_ENDPOINT", ""))
    if not pipeline.modules and not settings_only:
        raise fault(filled.keys.get("modules", filled.place), "the pipeline has no modules; add one under 'modules'")
    return pipeline


class _Files:
    """Reads files with what they include. `_open` are those being read, outermost first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._open: list[str] = []
        self._count = 0

    def read(self, path: Path) -> Table:
        from ion.config.source import read_document  # the YAML parser, only where a file is read

        document = read_document(path)
        self._count += 1
        self._check_version(document)
        self._open.append(_real(path))
        tree = self._over_includes(document)
        self._open.pop()
        return tree

    def _check_version(self, document: Table) -> None:
        """Before anything else, as a file of another version may have other keys. An included file need not say it."""
        if "ion" in document.entries:
            VERSION.decode(expand(document.entries["ion"], self._environ), "ion")
        elif not self._open:
            raise fault(document.place, "the file does not say its version; write `ion: 1` at its top")

    def _over_includes(self, document: Table) -> Table:
        include = document.entries.get("include")
        if include is None or (isinstance(include, Scalar) and include.empty):
            return document
        filled = expand(include, self._environ)
        under: Node | None = None
        for file in Many(item=Located(), single=True).decode(filled, "include"):
            under = merge(under, self._included(Path(file.path), file.written, filled), is_empty)
        tree = merge(under, document, is_empty)
        assert isinstance(tree, Table)
        return tree

    def _included(self, path: Path, written: str, include: Node) -> Table:
        written = shorten(written)
        if _real(path) in self._open:
            raise fault(include.place, f"the include '{written}' leads back to this file; remove one of the includes")
        if self._count >= FILES_MOST:
            raise fault(include.place, f"more than {FILES_MOST} files are included; include fewer")
        if not os.path.isfile(path) or not os.access(path, os.R_OK):  # noqa: PTH113  raises nothing for odd names
            raise fault(include.place, f"the include '{written}' cannot be read; correct the path")
        return self.read(path).without("include")


def _real(path: Path) -> str:
    return os.path.realpath(path)  # unlike Path.resolve, it raises nothing for a loop of links


def _with_profile(tree: Table, profile: str) -> Table:
    if not profile:
        return tree
    profiles = tree.entries.get("profiles")
    known = profiles.entries if isinstance(profiles, Table) else {}
    if profile not in known:
        place = tree.keys.get("profiles", tree.place)
        raise fault(place, f"there is no profile '{shorten(profile)}'; {suggestion(profile, known)}")
    patch = known[profile]
    if isinstance(patch, Scalar) and patch.empty:
        return tree
    if not isinstance(patch, Table):
        raise fault(patch.place, f"profiles.{profile} must be a mapping, not {shape(patch)}")
    for key in FILE_ONLY:
        if key in patch.entries:
            raise fault(patch.keys[key], f"'{key}' cannot stand in a profile; write it at the top of the file")
    merged = merge(tree, patch, is_null)
    assert isinstance(merged, Table)
    return merged


def _with_defaults(tree: Table) -> Table:
    """Every module over the defaults; what is not a mapping is left for the decoder to refuse."""
    defaults, modules = tree.entries.get("defaults"), tree.entries.get("modules")
    if not isinstance(defaults, Table) or not isinstance(modules, Table):
        return tree
    over = {
        name: merge(defaults, module, is_empty) if isinstance(module, Table) else module
        for name, module in modules.entries.items()
    }
    return tree.with_entry("modules", Table(entries=over, keys=modules.keys, place=modules.place))


def _typed(tree: Table, path: Path, *, profile: str, endpoint: str) -> Pipeline:
    values = PIPELINE.decode(tree, "")
    specs = values.get("modules") or {}
    settings = Settings(**{key: value for key, value in values.items() if key in SETTINGS})
    settings = msgspec.structs.replace(settings, endpoint=endpoint or settings.endpoint)
    pipeline = Pipeline(
        name=values.get("name", ""), path=path, folder=path.parent.resolve(), profile=profile, settings=settings
    )
    modules = tuple(_module(tree, name, spec, pipeline) for name, spec in specs.items())
    return msgspec.structs.replace(pipeline, modules=modules)


def _module(tree: Table, name: str, spec: Mapping[str, object], pipeline: Pipeline) -> Module:
    try:
        origin = pipeline.folder / pipeline.path.name
        return build_module(name, spec, pipeline=pipeline.name, origin=origin, mounts=pipeline.settings.mounts)
    except PipelineError:
        raise
    except InvalidError as error:
        modules = tree.entries["modules"]
        place = modules.keys[name] if isinstance(modules, Table) else modules.place
        raise fault(place, f"modules.{name}: {error}") from error

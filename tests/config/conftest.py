"""Writing pipeline files, and reading them."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from ion.config.load import load_pipeline
from ion.config.pipeline import Pipeline
from ion.errors import PipelineError
from ion.model.module import Module

Load = Callable[..., Pipeline]
Refusal = Callable[..., str]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a pipeline from its text; further files are given by name."""

    def load_text(text: str, *, profile: str = "", environ: dict[str, str] | None = None, **files: str) -> Pipeline:
        for name, content in files.items():
            (tmp_path / f"{name}.yaml").write_text(dedent(content))
        path = tmp_path / "ion.yaml"
        path.write_text(dedent(text))
        return load_pipeline(path, profile=profile, environ=environ or {})

    return load_text


@pytest.fixture
def refusal(load: Load, tmp_path: Path) -> Refusal:
    """The message with which a pipeline is refused, less the folder's path."""

    def refuse(text: str, **more: Any) -> str:
        with pytest.raises(PipelineError) as caught:
            load(text, **more)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return refuse


@pytest.fixture
def module(load: Load) -> Callable[..., Module]:
    """The one module of a pipeline, from its keys as lines of YAML."""

    def load_module(*lines: str, environ: dict[str, str] | None = None) -> Module:
        body = "".join(f"    {line}\n" for line in lines)
        (found,) = load(f"ion: 1\nmodules:\n  detect:\n{body}", environ=environ).modules
        return found

    return load_module


@pytest.fixture
def module_refusal(refusal: Refusal) -> Callable[..., str]:
    """The message with which a module is refused, from its keys as lines of YAML; the first is on line 4."""

    def refuse(*lines: str) -> str:
        return refusal("ion: 1\nmodules:\n  detect:\n" + "".join(f"    {line}\n" for line in lines))

    return refuse

"""Variables in the values of a pipeline file."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.config.nodes import Place, Scalar
from ion.config.pipeline import Pipeline
from ion.config.variables import expand
from ion.model.module import Module

Load = Callable[..., Pipeline]
Refusal = Callable[..., str]

PIPELINE = "ion: 1\nmodules:\n  a:\n    command: [x]\n    env: {V: VALUE}\n"


def value(load: Load, written: str, **environ: str) -> str:
    return load(PIPELINE.replace("VALUE", written), environ=environ).modules[0].env["V"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${X}", "x"),
        ("${X}-${Y:-y}", "x-y"),
        ("${EMPTY:-y}", "y"),
        ("${EMPTY}", ""),
        ("${Y:-}", ""),
        ("${X:?must be set}", "x"),
        ("$$X", "$X"),
        ("$${X}", "${X}"),
        ("$X $HOME $", "$X $HOME $"),
        ("${Y:-a: [b}", "a: [b"),
    ],
)
def test_variables_are_filled_in(load: Load, written: str, expected: str) -> None:
    """Set, defaulted and doubled dollars become what they stand for; a bare dollar stands for itself."""
    assert value(load, f'"{written}"', X="x", EMPTY="") == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${Y}", "ion.yaml:5: the variable Y is not set; set it, or write ${Y:-default}"),
        ("${Y:?ask the operator}", "ion.yaml:5: the variable Y is not set: ask the operator"),
        ("${EMPTY:?needed}", "ion.yaml:5: the variable EMPTY is not set: needed"),
        ("${X", "ion.yaml:5: '${X' is no variable"),
        ("${X-y}", "ion.yaml:5: '${X-y' is no variable"),
        ("${}", "ion.yaml:5: '${' is no variable"),
        ("${X:-${Y}}", "ion.yaml:5: '${X:-${Y' is no variable"),
        ("${BYTES}", "ion.yaml:5: the variable BYTES is not UTF-8 text; set it to text"),
    ],
)
def test_what_cannot_be_filled_in_is_said_with_its_line(refusal: Refusal, written: str, expected: str) -> None:
    """A missing variable and a wrong form are told where they stand."""
    text = PIPELINE.replace("VALUE", f'"{written}"')
    assert refusal(text, environ={"X": "x", "EMPTY": "", "BYTES": "\udcff"}).startswith(expected)


def test_a_variable_brings_no_structure(load: Load) -> None:
    """A value that looks like YAML is text."""
    hostile = "x}\nmodules: {evil: {command: [rm]}}"
    pipeline = load(PIPELINE.replace("VALUE", '"${X}"'), environ={"X": hostile})
    assert [module.name for module in pipeline.modules] == ["a"]
    assert pipeline.modules[0].env["V"] == hostile


def test_a_variable_in_a_command_line_stays_one_word(module: Callable[..., Module]) -> None:
    """A command is split as it was written; blanks and quotes of a value do not split it again."""
    found = module("command: 'python run.py ${FILE} --x=${FILE} ${Z:-p q}'", environ={"FILE": "my file' ; rm"})
    assert found.command == ("python", "run.py", "my file' ; rm", "--x=my file' ; rm", "p q")


def test_a_variable_is_typed_as_its_field(load: Load, refusal: Refusal) -> None:
    """A number may come from a variable, and must then be one."""
    text = "ion: 1\nmodules: {a: {command: [x]}}\nfront: {port: '${PORT}'}\n"
    assert load(text, environ={"PORT": "81"}).settings.front.port == 81
    assert refusal(text, environ={"PORT": "http"}).startswith("ion.yaml:3: front.port must be a whole number")


def test_keys_are_left_alone(load: Load) -> None:
    """A dollar in a key is a dollar."""
    text = "ion: 1\nmodules: {a: {command: [x], kubernetes: {podTemplate: {'${X}': 1}}}}\n"
    assert load(text).modules[0].kubernetes == {"podTemplate": {"${X}": 1}}


def test_variables_of_a_profile_that_is_not_chosen_are_not_asked_for(load: Load) -> None:
    """Only what counts in the end is filled in."""
    text = PIPELINE + "profiles: {cluster: {endpoint: '${NOT_SET}'}}\n"
    assert load(text).settings.endpoint == ""


@given(st.text())
def test_any_text_survives_doubled_dollars(text: str) -> None:
    """Doubling every dollar gives back the text."""
    place = Place(file=Path("f"), line=1)
    found = expand(Scalar(text=text.replace("$", "$$"), plain=False, place=place), {})
    assert isinstance(found, Scalar)
    assert found.text == text

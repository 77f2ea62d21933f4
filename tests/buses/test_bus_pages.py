"""The pages of docs/buses say what the code does: each setting with its default, and under the same headings."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ion.config.buses import BUSES
from ion.config.tables import Many, Section

PAGES = Path(__file__).parents[2] / "docs" / "buses"
HEADINGS = ["When to choose it", "Set-up", "Settings", "Guarantees", "What happens on an outage"]
UNSET = {"none", "off", "no bound", "the system's"}


def rows(page: str) -> dict[str, str]:
    """Of the table of settings: each with what stands as its default."""
    _, _, after = page.partition("| setting | default | what |\n|---|---|---|\n")
    found: dict[str, str] = {}
    for line in after.partition("\n\n")[0].splitlines():
        names, default = line.split(" | ")[:2]
        found |= dict.fromkeys(re.findall(r"`(.+?)`", names), default)
    return found


def keys(section: Section[Any], before: str = "") -> set[str]:
    """Of a section and of those within."""
    found: set[str] = set()
    for name, field in section.fields.items():
        found.add(before + name)
        if isinstance(field.kind, Section):
            found |= keys(field.kind, f"{before}{name}.")
    return found


@pytest.mark.parametrize("kind", ["nats", "rabbitmq", "servicebus"])
def test_a_page_tells_every_setting_and_its_default(kind: str) -> None:
    """As it would be written in a pipeline file."""
    section = BUSES[kind]
    told = rows((PAGES / f"{kind}.md").read_text())
    assert set(told) == keys(section) - {"kind"}
    assert section.struct is not None
    defaults = {field.name: field.default for field in msgspec.structs.fields(section.struct)}
    for name, shown in told.items():
        field = section.fields.get(name)
        default = defaults.get(field.into or name) if field else None
        if shown in UNSET:
            assert not default, name
            continue
        assert field is not None, name
        text = shown.strip("`")
        parsed = (field.kind.item.parse(text),) if isinstance(field.kind, Many) else field.kind.parse(text)  # type: ignore[attr-defined]
        assert parsed == default, name


@pytest.mark.parametrize("kind", ["nats", "rabbitmq", "servicebus"])
def test_a_page_has_what_every_page_has(kind: str) -> None:
    """In one order, so that two are compared easily."""
    found = re.findall(r"^## (.+)$", (PAGES / f"{kind}.md").read_text(), re.MULTILINE)
    assert [heading for heading in found if heading in HEADINGS] == HEADINGS


def test_what_may_be_zero_can_be_written() -> None:
    """A topic of Service Bus may do without knowing ids again."""
    kind = BUSES["servicebus"].fields["duplicate_window"].kind
    assert kind.parse("0") == 0.0  # type: ignore[attr-defined]

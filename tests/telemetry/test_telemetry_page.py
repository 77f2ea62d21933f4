"""The page on telemetry names all that is exported."""

import re
from pathlib import Path

import pytest
from tests.telemetry.lived import BASE_S, FAILED, committed, job

from ion.dispatcher.finish import Progress, Step
from ion.management.telemetry.figures import ATTRIBUTES, NAMES
from ion.management.telemetry.lives import UNSEEN, failed_life, released_life
from ion.management.telemetry.spans import spans_of

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"
NAMED = set(re.findall(r"`([a-z_.]+)`", PAGE.read_text()))


@pytest.mark.parametrize("name", sorted({one.name for one in NAMES.values()} | set(ATTRIBUTES.values())))
def test_every_metric_is_on_the_page(name: str) -> None:
    """With its attributes."""
    assert name in NAMED


def test_every_attribute_of_a_span_is_on_the_page() -> None:
    """Of attempts that went well, that failed, and of gateways."""
    told = Progress(job=job(), step=Step.FAILED, failure=FAILED, began_s=BASE_S + 12, ended_s=BASE_S + 30)
    lives = [
        failed_life(told, BASE_S + 31),
        released_life(committed(), UNSEEN, BASE_S + 40),
        released_life(committed(revision=""), UNSEEN, BASE_S + 40),
    ]
    used = {name for life in lives for span in spans_of(life) for name in span.attributes}
    assert used <= NAMED
    assert {name for name in NAMED if name.startswith("messaging.")} <= used

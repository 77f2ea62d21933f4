"""What is said when exports fail."""

import logging

import pytest

from ion.management.telemetry.delivery import Delivery

WHERE = "http://c:4318"


def begun() -> Delivery:
    """Past the variables: what it hears is about exports."""
    delivery = Delivery()
    delivery.begin()
    return delivery


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "ion.telemetry"]


def test_failures_of_all_signals_are_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """And one line once all of them arrive again."""
    delivery = begun()
    delivery.hear("refused")
    for signal in ("traces", "metrics", "logs", "traces"):
        delivery.ended(signal, ok=False, where=WHERE)
    for signal in ("traces", "metrics"):
        delivery.ended(signal, ok=True, where=WHERE)
    assert said(caplog) == [f"traces cannot be exported to {WHERE} and are lost until that works again: refused"]
    delivery.ended("logs", ok=True, where=WHERE)
    assert said(caplog)[1:] == ["telemetry can be exported again"]


def test_nothing_is_said_of_exports_that_arrive(caplog: pytest.LogCaptureFixture) -> None:
    """However many."""
    delivery = begun()
    for _ in range(3):
        delivery.ended("traces", ok=True, where=WHERE)
    assert said(caplog) == []


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Max retries exceeded with url: /v1/traces?api-key=hidden (refused)", "url: /v1/traces?… (refused)"),
        ("no route to http://me:hidden@host:4318/v1", "http://…host:4318/v1"),
    ],
)
def test_keys_of_a_url_are_not_said(caplog: pytest.LogCaptureFixture, message: str, shown: str) -> None:
    """Whatever the SDK says of it."""
    delivery = begun()
    delivery.hear(message)
    delivery.ended("traces", ok=False, where=WHERE)
    assert shown in said(caplog)[0]
    assert "hidden" not in caplog.text


def test_what_the_sdk_logs_is_heard_and_not_printed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that is full is told once; each failed export is told by us."""
    theirs = logging.getLogger("opentelemetry")
    for name in ("opentelemetry", "azure"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    begun().listen()
    theirs.error("Failed to export")
    for _ in range(2):
        theirs.warning("Queue is full, likely spans will be dropped.")
    assert [record.name for record in caplog.records] == ["ion.telemetry"]

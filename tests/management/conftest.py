"""What tests of management share."""

import pytest


@pytest.fixture(autouse=True)
def patient_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that takes its time to answer is a symptom; in tests it is a busy machine."""
    for bound in ("SLOW_S", "ANSWER_S"):
        monkeypatch.setattr(f"ion.management.local.doctor.{bound}", 120.0)

"""Symptoms by how grave they are."""

from ion.management.verbs.server import Grade, Symptom


def fine(about: str, message: str) -> Symptom:
    return Symptom(about=about, grade=Grade.FINE, message=message)


def warning(about: str, message: str, command: str = "") -> Symptom:
    """Worth knowing; work gets done."""
    return Symptom(about=about, grade=Grade.WARNING, message=message, command=command)


def fault(about: str, message: str, command: str = "") -> Symptom:
    """Work does not get done, or soon will not."""
    return Symptom(about=about, grade=Grade.FAULT, message=message, command=command)

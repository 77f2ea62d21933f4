"""Times as people type them: a point in time, how long ago it was, how long something may take."""

from datetime import UTC, datetime, timedelta

from ion.config.quantities import parse_duration
from ion.errors import InvalidError


def when(text: str) -> datetime:
    """A point in time. Without a zone it is on this host's clock; a duration counts back from now."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError) as error:
        raise InvalidError(
            f"'{text}' is no time: write one (2026-11-24, 2026-11-24T11:51) or how long ago (90m, 2h, 7d)"
        ) from error


def lasting(option: str, text: str) -> float:
    """The seconds of a duration given as an option."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InvalidError(f"{option} must be {error}, not '{text}'") from error

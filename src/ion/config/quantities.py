"""Durations and quantities as people write them.

A duration is `250ms`, `30s`, `2h30m`, `1d`, or a bare number of seconds. A quantity is written as in Kubernetes:
`0.5` or `500m` of a processor, `4Gi` (1024³) or `1G` (10⁹) of bytes. Each function raises ValueError with what was
expected.
"""

import math
import re
from fractions import Fraction

DURATION_MOST_S = 36_500 * 86_400.0
BYTES_MOST = 2**63 - 1

_UNITS_S = {
    "d": Fraction(86_400),
    "h": Fraction(3_600),
    "m": Fraction(60),
    "s": Fraction(1),
    "ms": Fraction(1, 1000),
}
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,15})?"
_DURATION = re.compile("".join(f"(?:(?P<{unit}>{_NUMBER}){unit})?" for unit in _UNITS_S))
_BARE = re.compile(_NUMBER)
_QUANTITY = re.compile(rf"({_NUMBER})(?:(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)|[eE]([+-]?[0-9]{{1,2}}))?")
_FACTORS = {
    "m": Fraction(1, 1000),
    **{letter: Fraction(1000 ** (n + 1)) for n, letter in enumerate("kMGTPE")},
    **{f"{letter}i": Fraction(1024 ** (n + 1)) for n, letter in enumerate("KMGTPE")},
}


def parse_duration(text: str) -> float:
    """Seconds."""
    if _BARE.fullmatch(text):
        seconds = Fraction(text)
    elif text and (found := _DURATION.fullmatch(text)):
        seconds = sum((Fraction(n) * _UNITS_S[unit] for unit, n in found.groupdict().items() if n), Fraction(0))
    else:
        raise ValueError("a duration such as 250ms, 30s, 2h30m or 1d (a bare number is seconds)")
    if seconds > DURATION_MOST_S:
        raise ValueError("a duration of at most 36500d")
    return float(seconds)


def parse_size(text: str) -> int:
    """Bytes, rounded up."""
    quantity = _parse_quantity(text)
    if quantity is None:
        raise ValueError("a number of bytes such as 512Mi, 4Gi or 1G")
    if text.endswith("m"):
        raise ValueError("a number of bytes such as 512M ('m' is a thousandth)")
    if quantity > BYTES_MOST:
        raise ValueError("at most 8Ei")
    return math.ceil(quantity)


def parse_cpu(text: str) -> float:
    """Processor cores."""
    quantity = _parse_quantity(text)
    if quantity is None or quantity > 1_000_000:
        raise ValueError("a number of cores such as 2, 0.5 or 500m")
    return float(quantity)


def _parse_quantity(text: str) -> Fraction | None:
    found = _QUANTITY.fullmatch(text)
    if found is None:
        return None
    number, suffix, exponent = found.groups()
    return Fraction(number) * _FACTORS.get(suffix, 1) * Fraction(10) ** int(exponent or 0)

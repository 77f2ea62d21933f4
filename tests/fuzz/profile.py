"""How hard the tests in this folder try, and what they all ask of a refusal.

Every test takes its number of examples from here, so that the whole folder stays well under a minute on two cores.
`ION_FUZZ=20` tries twenty times as many (with `--timeout=0`). In CI the examples are the same at each run; elsewhere
they are new ones, and what failed is tried first the next time.
"""

import os

from hypothesis import HealthCheck, settings

THOROUGH = int(os.environ.get("ION_FUZZ", "1"))
SENTENCE_MOST = 1500
"""Characters of a message: it may name one path, of at most 900 bytes, and not repeat a document."""

settings.register_profile(
    "fuzz",
    deadline=None,  # the machine may be busy
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def examples(most: int) -> settings:
    """The profile with so many examples."""
    return settings(settings.get_profile("fuzz"), max_examples=most * THOROUGH)


def one_sentence(error: Exception) -> str:
    """The message of an error, which is one line that a terminal can show and a person can read."""
    text = str(error)
    assert text.strip() == text, text
    assert 0 < len(text) <= SENTENCE_MOST, (len(text), text[:200])
    assert text.isprintable(), text
    return text

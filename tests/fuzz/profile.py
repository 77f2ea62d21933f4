"""How hard the tests in this folder try, and what they all ask of a refusal.

Every test takes its number of examples from here, so that the whole folder stays well under a minute on two cores.
`ION_FUZZ=20` tries twenty times as many (with `--timeout=0`), and other ones at each run.
"""

import os

from hypothesis import settings

THOROUGH = int(os.environ.get("ION_FUZZ", "1"))
SENTENCE_MOST = 1500
"""Characters of a message: it may name one path, of at most 900 bytes, and not repeat a document."""


def examples(most: int) -> settings:
    """So many examples, by the profile of all tests."""
    return settings(max_examples=most * THOROUGH)


def one_sentence(error: Exception) -> str:
    """The message of an error, which is one line that a terminal can show and a person can read."""
    text = str(error)
    assert text.strip() == text, text
    assert 0 < len(text) <= SENTENCE_MOST, (len(text), text[:200])
    assert text.isprintable(), text
    return text

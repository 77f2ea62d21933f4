"""The pages: links lead somewhere, and what is made from the code is what the code says now."""

import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("examples/**/*.md"))]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """The page without what stands in code blocks."""
    return re.sub(r"(?ms)^\s*```.*?^\s*```", "", page.read_text())


@cache
def anchors(page: Path) -> set[str]:
    """Names of its headings, as GitHub makes them; a second one of a name gets a number."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"(?m)^#+ (.+)$", prose(page)):
        name = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    """To a file or folder of this repository, and to a heading in it; links to elsewhere are not followed."""
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), link
        if anchor:
            assert anchor in anchors(there), link


def test_what_is_made_from_the_code_is_what_the_code_says() -> None:
    """`make docs` would change nothing."""
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate", "--check"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr

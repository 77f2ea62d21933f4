"""Writes the pages that come from the code: `make docs`.

With --check it writes nothing, and fails where a page is not what it would write.
"""

import sys
from pathlib import Path

import calls
import commands

DOCS = Path(__file__).parents[1]


def main() -> None:
    reference, api = DOCS / "cli-reference.md", DOCS / "api.md"
    pages = {reference: commands.page(), api: calls.page(api.read_text())}
    stale = [page for page, text in pages.items() if not page.exists() or page.read_text() != text]
    if "--check" in sys.argv[1:]:
        sys.exit(f"stale: {', '.join(page.name for page in stale)}; run `make docs`" if stale else 0)
    for page in stale:
        page.write_text(pages[page])
        print(f"wrote docs/{page.name}")


main()

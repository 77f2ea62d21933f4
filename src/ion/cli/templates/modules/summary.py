"""Summarises counted words: a short page for people, and insights for analysis."""

import csv
import json
import os
from pathlib import Path

base = Path(os.environ["ION_DIR"])
top = int(os.environ.get("TOP", "10"))

for counts in sorted((base / "in/data").glob("*.tsv")):
    with counts.open(newline="") as lines:
        rows = [(word, int(count)) for word, count in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)]
    total = sum(count for _, count in rows)
    print(f"{counts.name}: {total} words, {len(rows)} different ones")

    page = [f"# {counts.stem}", "", f"{total} words, {len(rows)} different ones. Most frequent:", ""]
    page += [f"- {word}: {count}" for word, count in rows[:top]]
    (base / "out/data" / f"{counts.stem}.md").write_text("\n".join(page) + "\n")

    insights = {"words": total, "different": len(rows), "most_frequent": rows[0][0] if rows else ""}
    (base / "out/insights.json").write_text(json.dumps(insights))

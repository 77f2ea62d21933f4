"""How long commands take to start: `ion --help`, and `ion run` of a pipeline with one module."""

import sys

from bench.measure import ION, folder, line, median


def main() -> None:
    with folder() as place:
        (place / "ion.yaml").write_text("ion: 1\nmodules: {one: {command: 'true', on: go}}\n")
        bare = median([sys.executable, "-c", "pass"], place)
        line("ion --help", f"{median([str(ION), '--help'], place) * 1000:.0f} ms", f"{bare * 1000:.0f} ms", "goal 100")
        run = median([str(ION), "run", "ion.yaml", "--event", "go"], place)
        line("ion run, one module", f"{run * 1000:.0f} ms", f"{bare * 1000:.0f} ms", "goal 400; floor: python -c pass")

"""How long commands take to start: `ion --help`, and `ion run` of a pipeline with one module."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from measure import folder, line

TURNS = 11
ION = Path(sys.executable).with_name("ion")


def median(command: list[str], place: Path) -> float:
    took = []
    for _ in range(TURNS):
        began = time.perf_counter()
        subprocess.run(command, cwd=place, check=True, capture_output=True)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def main() -> None:
    with folder() as place:
        (place / "ion.yaml").write_text("ion: 1\nmodules: {one: {command: 'true', on: go}}\n")
        bare = median([sys.executable, "-c", "pass"], place)
        line("ion --help", f"{median([str(ION), '--help'], place) * 1000:.0f} ms", f"{bare * 1000:.0f} ms", "goal 100")
        run = median([str(ION), "run", "ion.yaml", "--event", "go"], place)
        line("ion run, one module", f"{run * 1000:.0f} ms", f"{bare * 1000:.0f} ms", "goal 400; floor: python -c pass")


if __name__ == "__main__":
    main()

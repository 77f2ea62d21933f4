"""All benchmarks, one after the other; each prints its figures with their floors beside them."""

import importlib
import os
import sys
from pathlib import Path

NAMES = (
    *("start", "tiny", "chain", "large", "backlog", "relay", "restart", "memory", "bus", "ledger", "blobs"),
    *("management", "handler", "kubernetes", "telemetry"),
)


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    measure = importlib.import_module("measure")
    with measure.folder() as whole:
        os.environ[measure.WHOLE] = str(whole)
        for name in sys.argv[1:] or NAMES:
            importlib.import_module(name).main()


if __name__ == "__main__":
    main()

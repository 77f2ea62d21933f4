"""Who may use the management API, for what, and what is written down of it.

Four things, one behind the other. `material` says who gets a connection: only a client with a certificate of the CA
does, and the files may change while the server runs. `callers` says who that is and which roles it has, call by call,
since a certificate is revoked or expires while its connection lives. `gate` lets a call through to the verbs, or not,
by one table of what each verb needs. `record` writes every change into the ledger's audit trail, refusals too.

The gate and the record come around a `Management`, not around gRPC: what they see are a verb's name and its arguments,
so the record is the same whether the change came by the API or from a command on the store itself.
"""

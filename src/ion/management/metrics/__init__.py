"""Figures for Prometheus.

How things stand now (`page`) is asked of the ledger when somebody looks, from indexes, at a price that does not grow
with what has ended. What happened (`counts`) is counted in the process that did it: by the dispatcher of an `ion up`
and by the server of the API. Everything that is counted starts at nought with the process, as Prometheus expects.
"""

"""The control plane: every module that is for it has dispatchers, as many as there is work for.

The registry in the ledger is the truth, and deployments follow it. What could not be made is tried again, what somebody
deleted comes back, what is left of a module that is gone goes.
"""

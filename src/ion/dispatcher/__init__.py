"""The dispatcher: takes events in, runs the jobs they start, and hands on what those raise.

It is a handful of loops around the ledger, each level-triggered: a loop looks at what is to be done, does it, and waits
for news. None keeps anything that the ledger does not have as well, so any of them may die between two lines.

    admit      deliveries of a bus become jobs; then they are acknowledged        (admit.py)
    claim      due jobs become running attempts, as far as there is room          (claim.py, slots.py, breaker.py)
    finish     ended attempts are committed, or settled by class of failure       (finish.py, retry.py)
    relay      committed jobs: documents, children, publication, released         (relay.py)
    ownership  beats, and takes over from the dead                                (ownership.py)
    reconcile  compares ledger and executors; a deadline on every state           (reconcile.py, deadlines.py)

They are opened, and ended for certain, by service.py and tasks.py.
"""

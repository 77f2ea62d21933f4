"""A double of Azure Service Bus that speaks AMQP 1.0 to the vendor's own client, and runs as a process of its own.

It does: tokens on `$cbs` with their signature checked, topics with subscriptions, batches, link credit and draining,
peek-locks with their expiry, complete, abandon, dead-lettering by the client, by the delivery count and by age, the
dead-letter sub-queue, renewing and settling over `$management`, peeking, duplicate detection by message id, the largest
message, and of the administration API what makes, reads and lists topics and subscriptions, over TLS on the same port.
What it has confirmed outlives its process: it is in a journal.

It does not: rules and filters (every subscription takes everything), sessions, transactions, deferral, scheduled
messages, forwarding, partitions, quotas, premium's large messages, Entra tokens, or Azure's latencies, throttling on
its own accord, lagging counts and upgrades. Delivery counts, locks and the order of what was given back are lost when
it is killed, where the real one keeps them. Its order is that of a single queue, which is more than Azure promises.
"""

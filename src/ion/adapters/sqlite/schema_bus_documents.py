"""The tables of the bus and the documents; part of migration 1.

A record's place in the order is its `seq`, which it keeps when it is replaced.

An event's body is stored once, in `bus_events`; each group that still needs it has a row in `bus_deliveries`, and the
body goes with the last of them. A delivery is free (`receiver` is null), or in flight: handed out by the `call`-th
claim of a receiver. A free one is due now (`due` is 0) or at a time. The partial index holds the free ones alone, so
taking the next costs the same however many are in flight. A receiver's `lock` names the file that its process holds
locked.
"""

SCHEMA: str = """
CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    event_id TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    parent_event_id TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (kind, id)
);
CREATE INDEX records_correlation ON records (correlation_id);
CREATE INDEX records_event ON records (event_id);
CREATE INDEX records_name ON records (name);

CREATE TABLE bus_subscriptions (
    topic TEXT NOT NULL,
    subscriber TEXT NOT NULL,
    PRIMARY KEY (topic, subscriber)
) WITHOUT ROWID;

CREATE TABLE bus_events (
    seq INTEGER PRIMARY KEY,
    raw BLOB NOT NULL
);

CREATE TABLE bus_deliveries (
    seq INTEGER NOT NULL,
    subscriber TEXT NOT NULL,
    topic TEXT NOT NULL,
    event_id TEXT NOT NULL,
    due REAL NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    receiver TEXT,
    call INTEGER,
    PRIMARY KEY (seq, subscriber)
) WITHOUT ROWID;
CREATE UNIQUE INDEX bus_deliveries_event ON bus_deliveries (subscriber, event_id);
CREATE INDEX bus_deliveries_free ON bus_deliveries (subscriber, topic, due, seq) WHERE receiver IS NULL;
CREATE INDEX bus_deliveries_flying ON bus_deliveries (receiver, call) WHERE receiver IS NOT NULL;

CREATE TABLE bus_receivers (
    id TEXT PRIMARY KEY,
    lock TEXT NOT NULL
) WITHOUT ROWID;
"""

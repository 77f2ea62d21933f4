"""The table of the documents; part of migration 1.

A record's place in the order is its `seq`, which it keeps when it is replaced; see `schema_tables` for `place`. Its
body is JSON as text: PostgreSQL's own JSON types refuse a character that JSON allows.
"""

SCHEMA: str = """
CREATE TABLE records (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  correlation_id text COLLATE "C" NOT NULL,
  parent_event_id text COLLATE "C" NOT NULL,
  body text NOT NULL,
  place bigint GENERATED ALWAYS AS (seq) STORED,
  UNIQUE (kind, id)
);
CREATE INDEX records_correlation ON records (correlation_id, place);
CREATE INDEX records_event ON records (event_id, place);
CREATE INDEX records_name ON records (name, place);
"""

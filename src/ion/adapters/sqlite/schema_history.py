"""Migration 5: what was done to a module is found by its name, as are its jobs that ended badly; and who asked for
what is kept in an audit trail.
"""

SCHEMA: str = """
CREATE INDEX actions_subject ON actions (subject, seq);
CREATE INDEX jobs_lost ON jobs (module, state) WHERE state IN ('dead', 'cancelled');
CREATE TABLE trail (
  seq INTEGER PRIMARY KEY,
  at REAL NOT NULL,
  body TEXT NOT NULL
);
CREATE INDEX trail_at ON trail (at, seq);
"""

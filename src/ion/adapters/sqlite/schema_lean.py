"""Migration 4: rows of jobs stay small, and a change of state touches few pages.

A manifest has a row of its own: it is written once, while its job's row is written anew with every change. Jobs are
found by state in an index of that state alone; those that are released, nearly all in the end, are in none.
"""

SCHEMA: str = """
CREATE TABLE manifests (
  job INTEGER PRIMARY KEY,
  body TEXT NOT NULL
);
INSERT INTO manifests (job, body) SELECT seq, manifest FROM jobs WHERE manifest IS NOT NULL;
ALTER TABLE jobs DROP COLUMN manifest;
CREATE TRIGGER jobs_forgotten_manifest AFTER DELETE ON jobs
BEGIN
  DELETE FROM manifests WHERE job = old.seq;
END;

DROP INDEX jobs_state;
CREATE INDEX jobs_waiting ON jobs (seq) WHERE state = 'waiting';
CREATE INDEX jobs_dead ON jobs (seq) WHERE state = 'dead';
CREATE INDEX jobs_cancelled ON jobs (seq) WHERE state = 'cancelled';
CREATE INDEX jobs_superseded ON jobs (seq) WHERE state = 'superseded';
CREATE INDEX jobs_expired ON jobs (seq) WHERE state = 'expired';
"""

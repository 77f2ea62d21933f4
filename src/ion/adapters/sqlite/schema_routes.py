"""Migration 6: jobs wait on routes, each of which is a line of its own."""

SCHEMA: str = """
ALTER TABLE jobs ADD COLUMN route TEXT NOT NULL DEFAULT '';
DROP INDEX jobs_due;
CREATE INDEX jobs_due ON jobs (module, route, priority DESC, tag) WHERE state = 'waiting' AND ready = 1;
"""

"""Migration 3: rows of jobs can be removed, and the tallies follow."""

SCHEMA: str = """
CREATE TRIGGER jobs_forgotten AFTER DELETE ON jobs
BEGIN
  UPDATE tallies SET
    waiting = waiting - (old.state = 'waiting'),
    running = running - (old.state = 'running'),
    committed = committed - (old.state = 'committed'),
    released = released - (old.state = 'released'),
    dead = dead - (old.state = 'dead'),
    cancelled = cancelled - (old.state = 'cancelled'),
    superseded = superseded - (old.state = 'superseded'),
    expired = expired - (old.state = 'expired'),
    held = held - (old.state = 'waiting' AND old.hold <> '')
  WHERE flow = old.flow AND module = old.module;
END;
"""

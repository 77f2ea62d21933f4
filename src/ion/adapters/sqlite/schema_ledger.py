"""The tables of the ledger: part of migration 1, and what came after.

A job is one row. Columns are what is guarded, ordered or looked up; the rest is JSON text at the row's end, where
reading the columns does not touch it. Times are seconds since the epoch by the ledger's clock.

Finding work never scans. `ready` marks a waiting job that is due and not held, so `jobs_due` holds exactly what may be
claimed, in the order of claiming, and `jobs_later` what time will make ready. `tag` is the job's place among the flows
of its module (see `ion.adapters.ledger.sqlite_admission`); `jobs_lane` finds the last tag of a flow still waiting.

The tallies of a flow and the devices in use are kept by triggers, so no statement can forget them.
"""

SCHEMA: str = """
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  module TEXT NOT NULL,
  flow TEXT NOT NULL,
  event_id TEXT NOT NULL,
  state TEXT NOT NULL,
  run INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  hold TEXT NOT NULL,
  ready INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  tag INTEGER NOT NULL,
  owner TEXT NOT NULL DEFAULT '',
  scope TEXT NOT NULL DEFAULT '',
  revision TEXT NOT NULL DEFAULT '',
  execution TEXT NOT NULL DEFAULT '',
  cursor INTEGER NOT NULL DEFAULT 0,
  cancelling INTEGER NOT NULL DEFAULT 0,
  admitted_at REAL NOT NULL,
  started_at REAL,
  ended_at REAL,
  not_before REAL,
  deadline REAL,
  troubled_at REAL,
  log TEXT NOT NULL DEFAULT '',
  devices TEXT NOT NULL DEFAULT '[]',
  failures TEXT NOT NULL DEFAULT '{}',
  failure TEXT,
  history TEXT NOT NULL,
  event TEXT NOT NULL,
  manifest TEXT
);
CREATE INDEX jobs_due ON jobs (module, priority DESC, tag) WHERE state = 'waiting' AND ready = 1;
CREATE INDEX jobs_later ON jobs (module, not_before) WHERE state = 'waiting' AND ready = 0 AND hold = '';
CREATE INDEX jobs_lane ON jobs (flow, module, tag) WHERE state = 'waiting';
CREATE INDEX jobs_running ON jobs (module, owner, flow, deadline) WHERE state = 'running';
CREATE INDEX jobs_committed ON jobs (owner, seq, not_before) WHERE state = 'committed';
CREATE INDEX jobs_flow ON jobs (flow, seq);
CREATE INDEX jobs_event ON jobs (event_id, seq);
CREATE INDEX jobs_state ON jobs (state, seq);

CREATE TABLE flows (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  control TEXT NOT NULL DEFAULT '',
  priority INTEGER NOT NULL DEFAULT 0,
  started_at REAL NOT NULL
);

-- How many jobs of a flow stand in each state; every job ever admitted is in one of them.
CREATE TABLE tallies (
  flow TEXT NOT NULL,
  module TEXT NOT NULL,
  waiting INTEGER NOT NULL DEFAULT 0,
  running INTEGER NOT NULL DEFAULT 0,
  committed INTEGER NOT NULL DEFAULT 0,
  released INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0,
  cancelled INTEGER NOT NULL DEFAULT 0,
  superseded INTEGER NOT NULL DEFAULT 0,
  expired INTEGER NOT NULL DEFAULT 0,
  held INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (flow, module)
) WITHOUT ROWID;

-- The largest tag of a module that was ever claimed.
CREATE TABLE turns (module TEXT PRIMARY KEY, tag INTEGER NOT NULL) WITHOUT ROWID;

-- Devices of running jobs: the key makes giving one twice impossible.
CREATE TABLE devices (
  scope TEXT NOT NULL,
  device TEXT NOT NULL,
  job TEXT NOT NULL,
  PRIMARY KEY (scope, device)
) WITHOUT ROWID;

CREATE TABLE owners (id TEXT PRIMARY KEY, beat INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE modules (
  name TEXT PRIMARY KEY,
  pipeline TEXT NOT NULL,
  revision TEXT NOT NULL,
  paused INTEGER NOT NULL DEFAULT 0,
  dead_in_row INTEGER NOT NULL DEFAULT 0,
  trouble_in_row INTEGER NOT NULL DEFAULT 0,
  failed_at REAL
) WITHOUT ROWID;
CREATE TABLE revisions (
  module TEXT NOT NULL,
  id TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (module, id)
) WITHOUT ROWID;
-- One row: rises with every change of modules, so that copies of them know when they are stale.
CREATE TABLE registry (version INTEGER NOT NULL);
INSERT INTO registry (version) VALUES (1);
-- Who did what to modules and flows.
CREATE TABLE actions (
  seq INTEGER PRIMARY KEY,
  at REAL NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL
);

CREATE TRIGGER jobs_admitted AFTER INSERT ON jobs
BEGIN
  INSERT INTO tallies (flow, module, waiting, committed, dead, cancelled, held) VALUES (
    new.flow, new.module, new.state = 'waiting', new.state = 'committed', new.state = 'dead', new.state = 'cancelled',
    new.state = 'waiting' AND new.hold <> ''
  ) ON CONFLICT DO UPDATE SET
    waiting = waiting + excluded.waiting,
    committed = committed + excluded.committed,
    dead = dead + excluded.dead,
    cancelled = cancelled + excluded.cancelled,
    held = held + excluded.held;
END;
CREATE TRIGGER jobs_changed AFTER UPDATE OF state, hold ON jobs
WHEN new.state <> old.state OR new.hold <> old.hold
BEGIN
  UPDATE tallies SET
    waiting = waiting + (new.state = 'waiting') - (old.state = 'waiting'),
    running = running + (new.state = 'running') - (old.state = 'running'),
    committed = committed + (new.state = 'committed') - (old.state = 'committed'),
    released = released + (new.state = 'released') - (old.state = 'released'),
    dead = dead + (new.state = 'dead') - (old.state = 'dead'),
    cancelled = cancelled + (new.state = 'cancelled') - (old.state = 'cancelled'),
    superseded = superseded + (new.state = 'superseded') - (old.state = 'superseded'),
    expired = expired + (new.state = 'expired') - (old.state = 'expired'),
    held = held + (new.state = 'waiting' AND new.hold <> '') - (old.state = 'waiting' AND old.hold <> '')
  WHERE flow = new.flow AND module = new.module;
END;
CREATE TRIGGER jobs_stopped AFTER UPDATE OF state ON jobs
WHEN old.state = 'running' AND new.state <> 'running' AND old.devices <> '[]'
BEGIN
  DELETE FROM devices WHERE scope = old.scope AND job = old.id;
END;
"""

HELD: str = "CREATE INDEX jobs_held ON jobs (module) WHERE state = 'waiting' AND hold <> '';"
"""Migration 2: finds the modules whose waiting jobs are all held."""

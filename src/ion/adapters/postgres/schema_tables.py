"""The tables of the ledger; part of migration 1.

A job is one row. Columns are what is guarded, ordered or looked up; the rest is JSON as text, since PostgreSQL's own
JSON types refuse a character that JSON allows (U+0000). Large texts lie beside the row and are not written anew when it
changes. A history is an array of lines. Times are seconds since the epoch by the ledger's clock: the server's, or the
one that a test hands in as `_clock`.

Finding work never scans. `ready` marks a waiting job that is due and not held, so `jobs_due` holds exactly what may be
claimed, in the order of claiming, and `jobs_later` what time will make ready. `tag` is the job's place among the flows
of its module (see `schema_admission`); `jobs_lane` finds the last tag of a flow still waiting. What is listed in the
order of admission is ordered by `place`, the same number as `seq`: by `seq` the server might walk the whole table in
the order of its key, looking for the few rows that are wanted.

Counters that many transactions change at once (`tallies`, `turns`) have a row for each of 16 slots, and each connection
keeps to one of them, so that they do not wait for each other; the sum, or the largest, counts.

The tallies of a flow and the devices in use are kept by triggers, so no statement can forget them.

What must not happen at once is kept apart by advisory locks, which cost no write: of a flow (shared by what adds open
jobs to it; alone for what a person does to the whole flow, and for its expiry), of a module (shared by claims; alone
for its pause), of the registry (shared by what needs a module to be there, or not), of the runs of one event and
module, of a module's bound, of a scope's devices. They are taken in this order, and flows' in the order of their keys.
"""

_TABLES = """
CREATE TABLE jobs (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text COLLATE "C" NOT NULL UNIQUE,
  module text COLLATE "C" NOT NULL,
  flow text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  state text COLLATE "C" NOT NULL,
  run integer NOT NULL,
  attempt integer NOT NULL,
  hold text COLLATE "C" NOT NULL,
  ready boolean NOT NULL,
  priority bigint NOT NULL,
  tag bigint NOT NULL,
  owner text COLLATE "C" NOT NULL DEFAULT '',
  scope text COLLATE "C" NOT NULL DEFAULT '',
  revision text COLLATE "C" NOT NULL DEFAULT '',
  execution text COLLATE "C" NOT NULL DEFAULT '',
  cursor integer NOT NULL DEFAULT 0,
  cancelling boolean NOT NULL DEFAULT false,
  admitted_at double precision NOT NULL,
  started_at double precision,
  ended_at double precision,
  not_before double precision,
  deadline double precision,
  troubled_at double precision,
  log text NOT NULL DEFAULT '',
  devices text NOT NULL DEFAULT '[]',
  failures jsonb NOT NULL DEFAULT '{}',
  failure text,
  history text[] NOT NULL,
  event text NOT NULL,
  manifest text,
  place bigint GENERATED ALWAYS AS (seq) STORED
) WITH (fillfactor = 85);
CREATE INDEX jobs_due ON jobs (module, priority DESC, tag, seq) WHERE state = 'waiting' AND ready;
CREATE INDEX jobs_later ON jobs (module, not_before) WHERE state = 'waiting' AND NOT ready AND hold = '';
CREATE INDEX jobs_held ON jobs (module) WHERE state = 'waiting' AND hold <> '';
CREATE INDEX jobs_lane ON jobs (flow, module, tag) WHERE state = 'waiting';
CREATE INDEX jobs_running ON jobs (owner, module, flow) WHERE state = 'running';
CREATE INDEX jobs_deadline ON jobs (deadline) WHERE state = 'running';
CREATE INDEX jobs_committed ON jobs (owner, place, not_before) WHERE state = 'committed';
CREATE INDEX jobs_flow ON jobs (flow, place);
CREATE INDEX jobs_event ON jobs (event_id, module, run);
CREATE INDEX jobs_state ON jobs (state, place);

CREATE TABLE flows (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text COLLATE "C" NOT NULL UNIQUE,
  control text COLLATE "C" NOT NULL DEFAULT '',
  priority bigint NOT NULL DEFAULT 0,
  started_at double precision NOT NULL
);

-- How many jobs of a flow stand in each state; every job ever admitted is in one of them.
CREATE TABLE tallies (
  flow text COLLATE "C" NOT NULL,
  module text COLLATE "C" NOT NULL,
  slot integer NOT NULL,
  waiting bigint NOT NULL,
  running bigint NOT NULL,
  committed bigint NOT NULL,
  released bigint NOT NULL,
  dead bigint NOT NULL,
  cancelled bigint NOT NULL,
  superseded bigint NOT NULL,
  expired bigint NOT NULL,
  held bigint NOT NULL,
  PRIMARY KEY (flow, module, slot)
) WITH (fillfactor = 50);

-- The largest tag of a module that was ever claimed.
CREATE TABLE turns (
  module text COLLATE "C" NOT NULL,
  slot integer NOT NULL,
  tag bigint NOT NULL,
  PRIMARY KEY (module, slot)
) WITH (fillfactor = 50);

-- Devices of running jobs: the key makes giving one twice impossible.
CREATE TABLE devices (
  scope text COLLATE "C" NOT NULL,
  device text COLLATE "C" NOT NULL,
  job text COLLATE "C" NOT NULL,
  PRIMARY KEY (scope, device)
);

CREATE TABLE owners (id text COLLATE "C" PRIMARY KEY, beat bigint NOT NULL, body text NOT NULL);

CREATE TABLE modules (
  name text COLLATE "C" PRIMARY KEY,
  pipeline text NOT NULL,
  revision text COLLATE "C" NOT NULL,
  paused boolean NOT NULL DEFAULT false,
  dead_in_row integer NOT NULL DEFAULT 0,
  trouble_in_row integer NOT NULL DEFAULT 0,
  failed_at double precision
);
CREATE TABLE revisions (
  module text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  body text NOT NULL,
  PRIMARY KEY (module, id)
);
-- One row: rises with every change of modules, so that copies of them know when they are stale.
CREATE TABLE registry (version bigint NOT NULL);
INSERT INTO registry (version) VALUES (1);
-- Who did what to modules and flows.
CREATE TABLE actions (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at double precision NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  subject text NOT NULL
);

-- ---- the clock, histories, slots and locks -------------------------------------------------------------------------

CREATE FUNCTION ledger_time(_clock double precision) RETURNS double precision LANGUAGE sql VOLATILE AS $$
  SELECT coalesce(_clock, extract(epoch FROM clock_timestamp())::double precision)
$$;

-- One entry of a history; `_actor` and `_note` are JSON.
CREATE FUNCTION line(_now double precision, _state text, _attempt integer, _actor text, _note text)
RETURNS text LANGUAGE sql STABLE AS $$
  SELECT '{"at":"' || to_char(to_timestamp(_now) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    || '","state":"' || _state || '","attempt":' || _attempt || ',"actor":' || _actor || ',"note":' || _note || '}'
$$;

-- A history of at most 50 entries: the first stays, so it always tells how the job came to be.
CREATE FUNCTION grown(_history text[], _line text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN cardinality(_history) < 50 THEN _history ELSE _history[1:1] || _history[3:] END || _line
$$;

CREATE FUNCTION slot() RETURNS integer LANGUAGE sql STABLE AS $$ SELECT pg_backend_pid() % 16 $$;

CREATE FUNCTION lock_flows(_flows text[]) RETURNS void LANGUAGE sql VOLATILE AS $$
  SELECT pg_advisory_xact_lock_shared(1768910338, place)
  FROM (SELECT DISTINCT hashtext(flow) & 127 AS place FROM unnest(_flows) AS flow ORDER BY 1) AS places
$$;
CREATE FUNCTION lock_flow_alone(_flow text) RETURNS void LANGUAGE sql VOLATILE AS $$
  SELECT pg_advisory_xact_lock(1768910338, hashtext(_flow) & 127)
$$;
CREATE FUNCTION lock_admission(_flows text[]) RETURNS void LANGUAGE sql VOLATILE AS $$
  SELECT pg_advisory_xact_lock(1768910339, place)
  FROM (SELECT DISTINCT hashtext(flow) & 127 AS place FROM unnest(_flows) AS flow ORDER BY 1) AS places
$$;
CREATE FUNCTION lock_module(_module text) RETURNS void LANGUAGE sql VOLATILE AS $$
  SELECT pg_advisory_xact_lock_shared(1768910340, hashtext(_module))
$$;
CREATE FUNCTION lock_module_alone(_module text) RETURNS void LANGUAGE sql VOLATILE AS $$
  SELECT pg_advisory_xact_lock(1768910340, hashtext(_module))
$$;
CREATE FUNCTION lock_registry() RETURNS void LANGUAGE sql VOLATILE AS $$
  SELECT pg_advisory_xact_lock_shared(1768910341, hashtext(current_schema()))
$$;
CREATE FUNCTION lock_registry_alone() RETURNS void LANGUAGE sql VOLATILE AS $$
  SELECT pg_advisory_xact_lock(1768910341, hashtext(current_schema()))
$$;
CREATE FUNCTION lock_bound(_module text) RETURNS void LANGUAGE sql VOLATILE AS $$
  SELECT pg_advisory_xact_lock(1768910342, hashtext(_module))
$$;
CREATE FUNCTION lock_runs(_event text, _module text) RETURNS void LANGUAGE sql VOLATILE AS $$
  SELECT pg_advisory_xact_lock(1768910344, hashtext(_event || ' ' || _module))
$$;
CREATE FUNCTION lock_devices(_scope text) RETURNS void LANGUAGE sql VOLATILE AS $$
  SELECT pg_advisory_xact_lock(1768910343, hashtext(_scope))
$$;

"""

_COUNT = """
CREATE FUNCTION count_{name}() RETURNS trigger LANGUAGE plpgsql AS $$
{declared}BEGIN
  {first}INSERT INTO tallies AS known (flow, module, slot, {states}, held)
  SELECT flow, module, slot(), {counts}, coalesce(sum(by) FILTER (WHERE state = 'waiting' AND hold <> ''), 0)
  FROM ({moved}) AS moved GROUP BY flow, module ORDER BY flow, module
  ON CONFLICT (flow, module, slot) DO UPDATE SET {sums}, held = known.held + excluded.held;
  RETURN NULL;
END $$;
CREATE TRIGGER jobs_{name} AFTER {event} ON jobs REFERENCING {tables} FOR EACH STATEMENT
  EXECUTE FUNCTION count_{name}();
"""
# Most changes are of one job, and of a flow whose tally is there: that is a fifth of the work.
_DECLARED = """DECLARE
  _jobs integer;
  _flow text;
  _module text;
  _was text;
  _held integer;
  _is text;
  _holds integer;
"""
_FIRST = """_jobs := (SELECT count(*) FROM (SELECT FROM come LIMIT 2) AS few);
  IF _jobs = 0 THEN
    RETURN NULL;
  END IF;
  IF _jobs = 1 THEN
    SELECT gone.flow, gone.module, gone.state, (gone.state = 'waiting' AND gone.hold <> '')::integer,
      come.state, (come.state = 'waiting' AND come.hold <> '')::integer
    INTO _flow, _module, _was, _held, _is, _holds FROM gone, come;
    IF _was = _is AND _held = _holds THEN
      RETURN NULL;
    END IF;
    UPDATE tallies SET held = held + _holds - _held, {moves}
    WHERE flow = _flow AND module = _module AND slot = slot();
    IF FOUND THEN
      RETURN NULL;
    END IF;
  END IF;
  """
_GONE = "SELECT flow, module, state, hold, -1 AS by FROM gone"
_COME = "SELECT flow, module, state, hold, 1 AS by FROM come"
_DEVICES = """
CREATE FUNCTION free_devices() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM devices WHERE scope = old.scope AND job = old.id;
  RETURN NULL;
END $$;
CREATE TRIGGER jobs_stopped AFTER UPDATE OF state ON jobs FOR EACH ROW
  WHEN (old.state = 'running' AND new.state <> 'running' AND old.devices <> '[]') EXECUTE FUNCTION free_devices();
"""


def _counting(name: str, event: str, tables: str, moved: str, *, first: str = "") -> str:
    moves = ", ".join(
        f"{state} = {state} + (_is = '{state}')::integer - (_was = '{state}')::integer" for state in _STATES
    )
    return _COUNT.format(
        declared=_DECLARED if first else "",
        first=first.format(moves=moves),
        name=name,
        event=event,
        tables=tables,
        moved=moved,
        states=", ".join(_STATES),
        counts=", ".join(f"coalesce(sum(by) FILTER (WHERE state = '{state}'), 0)" for state in _STATES),
        sums=", ".join(f"{state} = known.{state} + excluded.{state}" for state in _STATES),
    )


_STATES = ("waiting", "running", "committed", "released", "dead", "cancelled", "superseded", "expired")

SCHEMA: str = (
    _TABLES
    + _counting("admitted", "INSERT", "NEW TABLE AS come", _COME)
    + _counting("changed", "UPDATE", "OLD TABLE AS gone NEW TABLE AS come", f"{_GONE} UNION ALL {_COME}", first=_FIRST)
    + _counting("forgotten", "DELETE", "OLD TABLE AS gone", _GONE)
    + _DEVICES
)

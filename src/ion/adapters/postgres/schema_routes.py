"""Migration 4: jobs wait on routes, each of which is a line of its own.

`claim` takes from several routes as from one line. The one without routes stays, for an older Ion beside this one.
"""

SCHEMA: str = """
ALTER TABLE jobs ADD COLUMN route text COLLATE "C" NOT NULL DEFAULT '';
DROP INDEX jobs_due;
CREATE INDEX jobs_due ON jobs (module, route, priority DESC, tag, seq) WHERE state = 'waiting' AND ready;

CREATE FUNCTION claim(_module text, _most integer, _owner text, _actor text, _scope text, _revision text,
  _deadline_s double precision, _module_most integer, _delay_most_s double precision, _gpus_each integer,
  _devices text[], _clock double precision, _routes text[], _route text)
RETURNS SETOF jobs LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  _now double precision;
  _free text[];
  _taken bigint[];
  _tag bigint;
BEGIN
  PERFORM lock_module(_module);
  IF EXISTS (SELECT 1 FROM modules WHERE name = _module AND paused) THEN
    RETURN;
  END IF;
  IF _module_most IS NOT NULL THEN
    PERFORM lock_bound(_module);
    _most := least(_most, _module_most - (SELECT count(*) FROM jobs WHERE state = 'running' AND module = _module));
  END IF;
  IF _gpus_each > 0 THEN
    PERFORM lock_devices(_scope);
    _free := ARRAY(
      SELECT d FROM unnest(_devices) WITH ORDINALITY AS given (d, n)
      WHERE NOT EXISTS (SELECT 1 FROM devices WHERE scope = _scope AND device = d)
      GROUP BY d ORDER BY min(n));
    _most := least(_most, cardinality(_free) / _gpus_each);
  END IF;
  IF _most <= 0 THEN
    RETURN;
  END IF;
  _now := ledger_time(_clock);
  PERFORM promote(_module, _now, _now + _delay_most_s);
  SELECT array_agg(seq ORDER BY priority DESC, tag, seq), max(tag) INTO _taken, _tag FROM (
    SELECT next.seq, next.priority, next.tag FROM unnest(_routes) AS given (r), LATERAL (
      SELECT seq, priority, tag FROM jobs WHERE state = 'waiting' AND ready AND module = _module AND route = r
      ORDER BY priority DESC, tag, seq LIMIT _most FOR UPDATE SKIP LOCKED) AS next
    ORDER BY next.priority DESC, next.tag, next.seq LIMIT _most) AS first;
  IF _taken IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY
    UPDATE jobs SET state = 'running', attempt = attempt + 1, owner = _owner, scope = _scope, started_at = _now,
      ended_at = NULL, deadline = _now + _deadline_s, not_before = NULL, cancelling = false,
      revision = CASE revision WHEN '' THEN _revision ELSE revision END,
      route = CASE _route WHEN '' THEN route ELSE _route END,
      devices = CASE WHEN _gpus_each = 0 THEN '[]' ELSE array_to_json(
        _free[1 + (array_position(_taken, seq) - 1) * _gpus_each : array_position(_taken, seq) * _gpus_each])::text END,
      history = grown(history, line(_now, 'running', attempt + 1, _actor, '""'))
    WHERE seq = ANY (_taken) RETURNING jobs.*;
  IF _gpus_each > 0 THEN
    INSERT INTO devices (scope, device, job)
      SELECT _scope, _free[n], (SELECT id FROM jobs WHERE seq = _taken[1 + (n - 1) / _gpus_each])
      FROM generate_series(1, cardinality(_taken) * _gpus_each) AS n;
  END IF;
  INSERT INTO turns AS known (module, slot, tag) VALUES (_module, slot(), _tag)
    ON CONFLICT (module, slot) DO UPDATE SET tag = excluded.tag WHERE known.tag < excluded.tag;
END $$;

-- Delayed jobs whose time has come, or cannot be true.
CREATE FUNCTION come(_module text, _now double precision, _far double precision) RETURNS SETOF bigint
LANGUAGE sql STABLE AS $$
  (SELECT seq FROM jobs WHERE state = 'waiting' AND NOT ready AND hold = '' AND module = _module
    AND not_before <= _now ORDER BY not_before LIMIT 1000)
  UNION ALL
  (SELECT seq FROM jobs WHERE state = 'waiting' AND NOT ready AND hold = '' AND module = _module
    AND not_before > _far ORDER BY not_before LIMIT 1000)
$$;

-- The routes of a module's due jobs; one index step a route, however many jobs wait.
CREATE FUNCTION routes_of(_module text, _delay_most_s double precision, _clock double precision)
RETURNS SETOF text LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
  _now double precision := ledger_time(_clock);
BEGIN
  RETURN QUERY
  WITH RECURSIVE leap AS (
    (SELECT route FROM jobs WHERE state = 'waiting' AND ready AND module = _module ORDER BY route LIMIT 1)
    UNION ALL
    SELECT (SELECT jobs.route FROM jobs WHERE state = 'waiting' AND ready AND jobs.module = _module
      AND jobs.route > leap.route ORDER BY jobs.route LIMIT 1) FROM leap WHERE leap.route IS NOT NULL
  )
  SELECT route FROM leap WHERE route IS NOT NULL
  UNION
  SELECT route FROM jobs WHERE seq IN (SELECT come(_module, _now, _now + _delay_most_s));
END $$;

CREATE FUNCTION on_route(_module text, _route text, _most integer, _delay_most_s double precision,
  _clock double precision) RETURNS SETOF jobs LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  _now double precision := ledger_time(_clock);
BEGIN
  PERFORM promote(_module, _now, _now + _delay_most_s);
  RETURN QUERY SELECT * FROM jobs WHERE state = 'waiting' AND ready AND module = _module AND route = _route
    ORDER BY priority DESC, tag, seq LIMIT _most;
END $$;

-- Puts jobs (id, old, new, note) onto other routes. What somebody changes just now is left for the next look.
CREATE FUNCTION reroute(_moves jsonb, _actor text, _clock double precision) RETURNS bigint LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  _now double precision := ledger_time(_clock);
  _done bigint;
BEGIN
  WITH moves AS MATERIALIZED (
    SELECT seq, m.new, m.note FROM jobs JOIN jsonb_to_recordset(_moves) AS m (job text, old text, new text, note text)
      ON jobs.id = m.job AND state = 'waiting' AND route = m.old FOR UPDATE OF jobs SKIP LOCKED)
  UPDATE jobs SET route = moves.new, history = grown(history, line(_now, 'waiting', attempt, _actor, moves.note))
    FROM moves WHERE jobs.seq = moves.seq;
  GET DIAGNOSTICS _done = ROW_COUNT;
  RETURN _done;
END $$;

CREATE OR REPLACE FUNCTION requeue(_job text, _actor text, _clock double precision, OUT outcome text, OUT _flow text,
  OUT _module text) LANGUAGE plpgsql AS $$
DECLARE
  _now double precision;
  _hold text;
BEGIN
  SELECT flow, module INTO _flow, _module FROM jobs WHERE id = _job;
  IF NOT FOUND THEN
    outcome := 'no';
    RETURN;
  END IF;
  PERFORM lock_flows(ARRAY[_flow]);
  PERFORM lock_registry();
  _now := ledger_time(_clock);
  PERFORM 1 FROM jobs WHERE id = _job
    AND (state IN ('dead', 'cancelled') OR state = 'waiting' AND hold IN ('hops', 'jobs')) FOR UPDATE;
  IF NOT FOUND THEN
    outcome := 'no';
    RETURN;
  END IF;
  outcome := obstacle(_flow, _module, _now);
  IF outcome <> '' THEN
    RETURN;
  END IF;
  _hold := CASE WHEN (open_flow(_flow, _now)).control = 'paused' THEN 'flow' ELSE '' END;
  UPDATE jobs SET state = 'waiting', hold = _hold, ready = _hold = '', priority = (open_flow(_flow, _now)).priority,
    tag = next_tag(_flow, _module), revision = '', owner = '', scope = '', route = '', failures = '{}',
    failure = NULL, manifest = NULL, troubled_at = NULL, cancelling = false, not_before = NULL, deadline = NULL,
    ended_at = NULL,
    history = grown(history, line(_now, 'waiting', attempt, _actor, '""'))
  WHERE id = _job;
  outcome := 'queued';
END $$;
"""

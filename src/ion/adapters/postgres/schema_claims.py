"""How waiting jobs become running ones: what is due, in whose turn, with which devices; part of migration 1.

Claims of one module go on side by side: each passes over the rows that another has locked. They take turns only where
a bound over all owners, or devices, have to be counted.
"""

SCHEMA: str = """
CREATE FUNCTION claim(_module text, _most integer, _owner text, _actor text, _scope text, _revision text,
  _deadline_s double precision, _module_most integer, _delay_most_s double precision, _gpus_each integer,
  _devices text[], _clock double precision)
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
    SELECT seq, priority, tag FROM jobs WHERE state = 'waiting' AND ready AND module = _module
    ORDER BY priority DESC, tag, seq LIMIT _most FOR UPDATE SKIP LOCKED) AS next;
  IF _taken IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY
    UPDATE jobs SET state = 'running', attempt = attempt + 1, owner = _owner, scope = _scope, started_at = _now,
      ended_at = NULL, deadline = _now + _deadline_s, not_before = NULL, cancelling = false,
      revision = CASE revision WHEN '' THEN _revision ELSE revision END,
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

-- Makes ready what was delayed and whose time has come, or cannot be true. Two ranges: with OR it would look at all.
CREATE FUNCTION promote(_module text, _now double precision, _far double precision) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  _due bigint[];
BEGIN
  _due := ARRAY(
    SELECT seq FROM jobs WHERE state = 'waiting' AND NOT ready AND hold = '' AND module = _module
      AND not_before <= _now ORDER BY not_before LIMIT 1000 FOR UPDATE SKIP LOCKED);
  IF _far IS NOT NULL THEN
    _due := _due || ARRAY(
      SELECT seq FROM jobs WHERE state = 'waiting' AND NOT ready AND hold = '' AND module = _module
        AND not_before > _far ORDER BY not_before LIMIT 1000 FOR UPDATE SKIP LOCKED);
  END IF;
  IF cardinality(_due) > 0 THEN
    UPDATE jobs SET ready = true WHERE seq = ANY (_due);
  END IF;
END $$;

-- The modules that have waiting jobs, and when the next is due; one index step a module, however many jobs wait.
CREATE FUNCTION waiting(_clock double precision) RETURNS TABLE (module text, due_s double precision)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
  _now double precision := ledger_time(_clock);
BEGIN
  RETURN QUERY
  WITH RECURSIVE
  due AS (
    (SELECT module FROM jobs WHERE state = 'waiting' AND ready ORDER BY module LIMIT 1)
    UNION ALL
    SELECT (SELECT jobs.module FROM jobs WHERE state = 'waiting' AND ready AND jobs.module > due.module
      ORDER BY jobs.module LIMIT 1) FROM due WHERE due.module IS NOT NULL
  ), later AS (
    (SELECT module FROM jobs WHERE state = 'waiting' AND NOT ready AND hold = '' ORDER BY module LIMIT 1)
    UNION ALL
    SELECT (SELECT jobs.module FROM jobs WHERE state = 'waiting' AND NOT ready AND hold = ''
      AND jobs.module > later.module ORDER BY jobs.module LIMIT 1) FROM later WHERE later.module IS NOT NULL
  ), held AS (
    (SELECT module FROM jobs WHERE state = 'waiting' AND hold <> '' ORDER BY module LIMIT 1)
    UNION ALL
    SELECT (SELECT jobs.module FROM jobs WHERE state = 'waiting' AND hold <> '' AND jobs.module > held.module
      ORDER BY jobs.module LIMIT 1) FROM held WHERE held.module IS NOT NULL
  )
  SELECT found.module, min(found.due_s) FROM (
    SELECT due.module, 0::double precision AS due_s FROM due
    UNION ALL
    SELECT later.module, greatest(0, (SELECT not_before FROM jobs WHERE state = 'waiting' AND NOT ready AND hold = ''
      AND jobs.module = later.module ORDER BY not_before LIMIT 1) - _now) FROM later
    UNION ALL
    SELECT held.module, NULL FROM held
  ) AS found WHERE found.module IS NOT NULL GROUP BY found.module;
END $$;
"""

"""What happens to jobs that are in the ledger: each change is one guarded update of one row; part of migration 1.

Which row a change expects stands in its `WHERE`; a caller that was too late changes nothing and is told so.
"""

SCHEMA: str = """
-- Of each row: whether this execution's results are the job's, and the job's owner; in the order of `n`.
CREATE FUNCTION commit_jobs(_rows json, _clock double precision) RETURNS TABLE (n integer, won boolean, held_by text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  _now double precision := ledger_time(_clock);
BEGIN
  -- One by one in the order of their ids, so that two that commit the same jobs do not wait for each other.
  WITH running AS MATERIALIZED (
    SELECT asked.*, job.seq
    FROM (SELECT * FROM json_to_recordset(_rows)
      AS asked (id text, attempt integer, execution text, log text, manifest text) ORDER BY id) AS asked,
    LATERAL (SELECT seq FROM jobs WHERE id = asked.id AND state = 'running' AND attempt = asked.attempt
      FOR NO KEY UPDATE) AS job
  ), decided AS (
    UPDATE jobs SET state = 'committed', execution = asked.execution, manifest = asked.manifest, cursor = 0,
      ended_at = _now, deadline = NULL, not_before = NULL, devices = '[]', failure = NULL, troubled_at = NULL,
      cancelling = false, log = CASE asked.log WHEN '' THEN jobs.log ELSE asked.log END,
      history = grown(history, line(_now, 'committed', jobs.attempt, to_json(owner)::text, '""'))
    FROM running AS asked WHERE jobs.seq = asked.seq
    RETURNING module)
  UPDATE modules SET dead_in_row = 0, trouble_in_row = 0
  WHERE (dead_in_row <> 0 OR trouble_in_row <> 0) AND name IN (SELECT module FROM decided);
  RETURN QUERY SELECT asked.n,
    coalesce(state IN ('committed', 'released', 'superseded', 'expired') AND jobs.attempt = asked.attempt
      AND jobs.execution = asked.execution, false), owner
  FROM json_to_recordset(_rows) AS asked (n integer, id text, attempt integer, execution text)
  LEFT JOIN jobs ON jobs.id = asked.id ORDER BY asked.n;
END $$;

-- Ends a running attempt without results; the new state, or null where the guard did not hold.
-- `_kind` and `_failure` are null without a failure; `_delay_s` is null where the job is not to wait again.
CREATE FUNCTION settle(_job text, _attempt integer, _owner text, _actor text, _wanted text, _delay_s double precision,
  _kind text, _failure text, _note text, _log text, _clock double precision) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  _now double precision;
  _flow text;
  _module text;
  _control text;
  _held text := '';
  _state text;
BEGIN
  SELECT flow INTO _flow FROM jobs
  WHERE id = _job AND state = 'running' AND attempt = _attempt AND owner = _owner;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  PERFORM lock_flows(ARRAY[_flow]);
  _now := ledger_time(_clock);
  SELECT control INTO _control FROM flows WHERE id = _flow;
  SELECT module, CASE WHEN _wanted = 'waiting' AND (cancelling OR _control = 'cancelled') THEN 'cancelled'
    ELSE _wanted END INTO _module, _state
  FROM jobs WHERE id = _job AND state = 'running' AND attempt = _attempt AND owner = _owner FOR UPDATE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  IF _state = 'waiting' AND _control = 'paused' THEN
    _held := 'flow';
  END IF;
  UPDATE jobs SET state = _state, hold = _held, cancelling = false, deadline = NULL, devices = '[]',
    ready = _state = 'waiting' AND _held = '' AND _delay_s <= 0,
    not_before = CASE WHEN _state = 'waiting' AND _delay_s > 0 THEN _now + _delay_s END,
    ended_at = CASE WHEN _state = 'waiting' THEN ended_at ELSE _now END,
    log = CASE _log WHEN '' THEN log ELSE _log END,
    failure = coalesce(_failure, failure),
    failures = CASE WHEN _kind IS NULL THEN failures
      ELSE failures || jsonb_build_object(_kind, coalesce((failures ->> _kind)::integer, 0) + 1) END,
    troubled_at = CASE WHEN _kind IS NULL THEN troubled_at
      WHEN _kind = 'infrastructure' THEN coalesce(troubled_at, _now) END,
    history = grown(history, line(_now, _state, attempt, _actor, _note))
  WHERE id = _job;
  IF _state = 'dead' OR _kind = 'infrastructure' THEN
    UPDATE modules SET dead_in_row = dead_in_row + (_state = 'dead')::integer,
      trouble_in_row = trouble_in_row + (_kind IS NOT DISTINCT FROM 'infrastructure')::integer, failed_at = _now
    WHERE name = _module;
  END IF;
  RETURN _state;
END $$;

-- Moves a running attempt to when it really began.
CREATE FUNCTION retime(_job text, _attempt integer, _owner text, _elapsed_s double precision, _clock double precision)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  _at double precision := ledger_time(_clock) - _elapsed_s;
BEGIN
  UPDATE jobs SET deadline = deadline - started_at + _at, started_at = _at
  WHERE id = _job AND state = 'running' AND attempt = _attempt AND owner = _owner;
  RETURN FOUND;
END $$;

-- The oldest committed jobs that are due and the owner's, or nobody's, which become the owner's.
CREATE FUNCTION unreleased(_most bigint, _owner text, _defer_most_s double precision, _clock double precision)
RETURNS SETOF jobs LANGUAGE plpgsql AS $$
DECLARE
  _now double precision := ledger_time(_clock);
  _page bigint[];
BEGIN
  _page := ARRAY(SELECT seq FROM (
    (SELECT seq FROM jobs WHERE state = 'committed' AND owner = _owner
      AND (not_before IS NULL OR not_before <= _now OR not_before > _now + _defer_most_s) ORDER BY place LIMIT _most)
    UNION ALL
    (SELECT seq FROM jobs WHERE state = 'committed' AND owner = ''
      AND (not_before IS NULL OR not_before <= _now OR not_before > _now + _defer_most_s) ORDER BY place LIMIT _most)
  ) AS due ORDER BY seq LIMIT _most);
  IF EXISTS (SELECT 1 FROM jobs WHERE seq = ANY (_page) AND owner = '') THEN
    PERFORM 1 FROM jobs WHERE seq = ANY (_page) AND owner = '' ORDER BY seq FOR UPDATE;
    UPDATE jobs SET owner = _owner WHERE seq = ANY (_page) AND state = 'committed' AND owner = '';
  END IF;
  RETURN QUERY SELECT * FROM jobs WHERE seq = ANY (_page) AND state = 'committed' AND owner = _owner ORDER BY seq;
END $$;

CREATE FUNCTION released(_job text, _owner text, _actor text, _clock double precision) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  UPDATE jobs SET state = 'released', not_before = NULL,
    history = grown(history, line(ledger_time(_clock), 'released', attempt, _actor, '""'))
  WHERE id = _job AND state = 'committed' AND owner = _owner;
  RETURN FOUND OR EXISTS (SELECT 1 FROM jobs WHERE id = _job AND state = 'released');
END $$;

CREATE FUNCTION defer(_job text, _owner text, _actor text, _delay_s double precision, _note text,
  _clock double precision) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  _now double precision := ledger_time(_clock);
BEGIN
  UPDATE jobs SET not_before = _now + _delay_s, history = grown(history, line(_now, state, attempt, _actor, _note))
  WHERE id = _job AND state = 'committed' AND owner = _owner;
  RETURN FOUND;
END $$;

CREATE FUNCTION bury(_job text, _failure text, _note text, _actor text, _clock double precision) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
  _now double precision;
BEGIN
  PERFORM lock_registry();
  _now := ledger_time(_clock);
  UPDATE jobs SET state = 'dead', hold = '', ready = false, failure = _failure, ended_at = _now, deadline = NULL,
    not_before = NULL, devices = '[]', history = grown(history, line(_now, 'dead', attempt, _actor, _note))
  WHERE id = _job AND state = 'waiting' AND NOT EXISTS (SELECT 1 FROM modules WHERE name = jobs.module);
  RETURN FOUND;
END $$;

-- Cancels a waiting job, marks a running one; the state it was in, or null where it was neither.
CREATE FUNCTION cancel_job(_job text, _actor text, _clock double precision) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  _now double precision := ledger_time(_clock);
  _state text;
BEGIN
  SELECT state INTO _state FROM jobs WHERE id = _job FOR UPDATE;
  IF _state = 'waiting' THEN
    UPDATE jobs SET state = 'cancelled', hold = '', ready = false, ended_at = _now, deadline = NULL,
      not_before = NULL, devices = '[]',
      history = grown(history, line(_now, 'cancelled', attempt, _actor, '"cancelled"'))
    WHERE id = _job;
  ELSIF _state = 'running' THEN
    UPDATE jobs SET cancelling = true,
      history = grown(history, line(_now, state, attempt, _actor, '"to be cancelled"'))
    WHERE id = _job AND NOT cancelling;
  ELSE
    RETURN NULL;
  END IF;
  RETURN _state;
END $$;

-- ---- owners --------------------------------------------------------------------------------------------------------

-- Makes up to `_most` of an owner's committed jobs nobody's, for any relay to take; how many.
CREATE FUNCTION disown(_owner text, _most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  _freed integer;
BEGIN
  UPDATE jobs SET owner = '' WHERE seq = ANY (ARRAY(
    SELECT seq FROM jobs WHERE state = 'committed' AND owner = _owner ORDER BY place LIMIT _most FOR UPDATE))
    AND state = 'committed' AND owner = _owner;
  GET DIAGNOSTICS _freed = ROW_COUNT;
  RETURN _freed;
END $$;

-- The same for owners without a row: one that was taken for dead may have committed since, and died then.
CREATE FUNCTION disown_strays(_most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  _owner text := '';
  _freed integer := 0;
BEGIN
  LOOP
    SELECT owner INTO _owner FROM jobs WHERE state = 'committed' AND owner > _owner ORDER BY owner LIMIT 1;
    EXIT WHEN NOT FOUND;
    IF NOT EXISTS (SELECT 1 FROM owners WHERE id = _owner) THEN
      _freed := _freed + disown(_owner, _most);
    END IF;
  END LOOP;
  RETURN _freed;
END $$;

-- Owners without a row that run jobs: a claim of theirs took effect after they were taken for dead.
CREATE FUNCTION strays(OUT stray text, OUT of_scope text) RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
  stray := '';
  LOOP
    SELECT owner, scope INTO stray, of_scope FROM jobs WHERE state = 'running' AND owner > stray ORDER BY owner LIMIT 1;
    EXIT WHEN NOT FOUND;
    IF NOT EXISTS (SELECT 1 FROM owners WHERE id = stray) THEN
      RETURN NEXT;
    END IF;
  END LOOP;
END $$;

CREATE FUNCTION adopt(_dead text, _owner text, _actor text, _note text, _clock double precision)
RETURNS SETOF jobs LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  _now double precision := ledger_time(_clock);
BEGIN
  RETURN QUERY WITH taken AS (
    UPDATE jobs SET owner = _owner, history = grown(history, line(_now, state, attempt, _actor, _note))
    WHERE state = 'running' AND owner = _dead RETURNING jobs.*)
  SELECT * FROM taken ORDER BY seq;
  DELETE FROM owners WHERE id = _dead;
END $$;

CREATE FUNCTION beat(_owner text, _beat bigint, _body text, OUT body text, OUT beats bigint)
RETURNS SETOF record LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  INSERT INTO owners AS known (id, beat, body) VALUES (_owner, _beat + 1, _body)
    ON CONFLICT (id) DO UPDATE SET beat = known.beat + 1, body = excluded.body;
  RETURN QUERY SELECT body, beat FROM owners ORDER BY id;
END $$;

-- While it still has running jobs its row stays, and its beat stands still: that is how others learn whom to adopt.
CREATE FUNCTION retire(_owner text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM owners WHERE id = _owner AND NOT EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND owner = _owner);
END $$;
"""

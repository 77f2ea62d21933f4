"""What becomes of jobs after their end; part of migration 1."""

SCHEMA: str = """
CREATE FUNCTION quiet(_flow text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN coalesce((SELECT sum(waiting + running + committed) FROM tallies WHERE flow = _flow), 0) = 0;
END $$;

-- 'new', 'known', or what stands in the way: 'cancelled', 'gone', 'open', 'superseded', 'expired', with the job it is.
CREATE FUNCTION rerun(_jobs json, _job text, _flow text, _module text, _event text, _needs text[], _actor text,
  _note text, _most bigint, _clock double precision, OUT outcome text, OUT which text, OUT is_in text)
LANGUAGE plpgsql AS $$
DECLARE
  _now double precision;
BEGIN
  PERFORM lock_flows(ARRAY[_flow]);
  PERFORM lock_registry();
  PERFORM lock_runs(_event, _module);
  _now := ledger_time(_clock);
  IF EXISTS (SELECT 1 FROM jobs WHERE id = _job) THEN
    outcome := 'known';
    RETURN;
  END IF;
  outcome := obstacle(_flow, _module, _now);
  IF outcome <> '' THEN
    RETURN;
  END IF;
  SELECT id, state INTO which, is_in FROM jobs
  WHERE event_id = _event AND module = _module AND state IN ('waiting', 'running', 'committed') LIMIT 1;
  IF FOUND THEN
    outcome := 'open';
    RETURN;
  END IF;
  SELECT id, state INTO which, is_in FROM jobs WHERE event_id = _event AND module = _module
  ORDER BY run DESC LIMIT 1;
  IF is_in = 'superseded' THEN
    outcome := is_in;
    RETURN;
  END IF;
  -- Whoever is about to expire one of them waits for this, and so cannot overlook the new run.
  PERFORM 1 FROM jobs WHERE id = ANY (_needs) ORDER BY seq FOR SHARE;
  SELECT id, state INTO which, is_in FROM jobs WHERE id = ANY (_needs) AND state = 'expired' LIMIT 1;
  IF FOUND THEN
    outcome := is_in;
    RETURN;
  END IF;
  PERFORM admit(_jobs, ARRAY[_flow], 1, _most, _clock);
  UPDATE jobs SET history = grown(history, line(_now, state, attempt, _actor, _note)) WHERE id = _job;
  outcome := 'new';
END $$;

CREATE FUNCTION supersede(_job text, _actor text, _note text, _clock double precision) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  UPDATE jobs SET state = 'superseded',
    history = grown(history, line(ledger_time(_clock), 'superseded', attempt, _actor, _note))
  WHERE id = _job AND state IN ('released', 'dead', 'cancelled');
  RETURN FOUND OR EXISTS (SELECT 1 FROM jobs WHERE id = _job AND state = 'superseded');
END $$;

CREATE FUNCTION expire(_job text, _actor text, _clock double precision) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  _flow text;
BEGIN
  SELECT flow INTO _flow FROM jobs WHERE id = _job;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM lock_flow_alone(_flow);
  UPDATE jobs SET state = 'expired',
    history = grown(history, line(ledger_time(_clock), 'expired', attempt, _actor, '""'))
  WHERE id = _job AND state IN ('released', 'superseded', 'dead', 'cancelled') AND quiet(_flow);
  RETURN FOUND OR EXISTS (SELECT 1 FROM jobs WHERE id = _job AND state = 'expired');
END $$;

-- `_manifest` is what is left of the manifest's reference, where `_before` is still what it was.
CREATE FUNCTION drop_log(_job text, _actor text, _before text, _manifest text, _clock double precision)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  UPDATE jobs SET log = '', manifest = _manifest,
    history = grown(history, line(ledger_time(_clock), state, attempt, _actor, '"its log has expired"'))
  WHERE id = _job AND state NOT IN ('waiting', 'running', 'committed') AND log <> ''
    AND manifest IS NOT DISTINCT FROM _before;
  RETURN FOUND OR EXISTS (
    SELECT 1 FROM jobs WHERE id = _job AND state NOT IN ('waiting', 'running', 'committed') AND log = '');
END $$;

CREATE FUNCTION strip(_job text, _event text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  UPDATE jobs SET failure = NULL, failures = '{}', cursor = 0, manifest = NULL, event = _event
  WHERE id = _job AND state = 'expired' AND log = '';
  RETURN FOUND;
END $$;

CREATE FUNCTION forget(_flow text, _most bigint) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  _removed integer;
BEGIN
  PERFORM lock_flow_alone(_flow);
  DELETE FROM jobs WHERE seq = ANY (ARRAY(
    SELECT seq FROM jobs WHERE flow = _flow AND state = 'expired' AND log = '' AND manifest IS NULL AND failure IS NULL
    ORDER BY place LIMIT _most));
  GET DIAGNOSTICS _removed = ROW_COUNT;
  IF NOT EXISTS (SELECT 1 FROM jobs WHERE flow = _flow) THEN
    DELETE FROM tallies WHERE flow = _flow;
    DELETE FROM flows WHERE id = _flow AND _removed > 0;
  END IF;
  RETURN _removed;
END $$;
"""

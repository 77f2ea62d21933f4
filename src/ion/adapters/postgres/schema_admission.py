"""How jobs get into the ledger, and their place in the line; part of migration 1.

Claims rotate between flows by start-time fair queueing: a job's tag is one more than the larger of its flow's last
waiting tag and the largest tag ever claimed of its module, and claims take the smallest tag. So a flow of ten thousand
jobs spreads over ten thousand tags, and the first job of a flow that comes later stands right behind what is being
claimed now. Nothing is kept for a flow that has nothing waiting.

Admissions of one flow go on side by side. Only near the limit of jobs a flow they take turns, so that it is exact.
"""

SCHEMA: str = """
CREATE FUNCTION next_tag(_flow text, _module text) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN 1 + greatest(
    coalesce((SELECT max(tag) FROM turns WHERE module = _module), 0),
    coalesce((SELECT tag FROM jobs WHERE state = 'waiting' AND flow = _flow AND module = _module
      ORDER BY tag DESC LIMIT 1), 0));
END $$;

CREATE FUNCTION jobs_of(_flow text) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (
    SELECT coalesce(sum(waiting + running + committed + released + dead + cancelled + superseded + expired), 0)::bigint
    FROM tallies WHERE flow = _flow);
END $$;

CREATE FUNCTION open_flow(_flow text, _now double precision) RETURNS flows LANGUAGE plpgsql AS $$
DECLARE
  _found flows;
BEGIN
  SELECT * INTO _found FROM flows WHERE id = _flow;
  IF NOT FOUND THEN
    INSERT INTO flows (id, started_at) VALUES (_flow, _now) ON CONFLICT DO NOTHING;
    SELECT * INTO _found FROM flows WHERE id = _flow;
  END IF;
  RETURN _found;
END $$;

-- `_jobs` is an array of rows in their order; `note` and `failed` are JSON of what a history tells of them.
CREATE FUNCTION admit(_jobs json, _flows text[], _count integer, _most bigint, _clock double precision)
RETURNS SETOF text LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  _now double precision;
BEGIN
  PERFORM lock_flows(_flows);
  IF EXISTS (SELECT 1 FROM unnest(_flows) AS f WHERE jobs_of(f) + _count > _most - 10000) THEN
    PERFORM lock_admission(_flows);
  END IF;
  _now := ledger_time(_clock);
  INSERT INTO flows (id, started_at)
    SELECT f, _now FROM unnest(_flows) WITH ORDINALITY AS asked (f, n)
    WHERE NOT EXISTS (SELECT 1 FROM flows WHERE flows.id = f) ORDER BY n
    ON CONFLICT DO NOTHING;
  RETURN QUERY
  WITH asked AS MATERIALIZED (
    SELECT a.* FROM json_to_recordset(_jobs) AS a (n integer, id text, module text, flow text, event_id text,
      state text, run integer, attempt integer, hold text, scope text, revision text, execution text,
      started_at double precision, ended_at double precision, not_before double precision, log text, failures jsonb,
      failure text, manifest text, event text, failed text)
    WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = a.id)
  ), kept AS MATERIALIZED (
    SELECT id AS flow, control, priority, jobs_of(id) AS jobs FROM flows WHERE id = ANY (_flows)
  ), lanes AS MATERIALIZED (
    SELECT flow, module, next_tag(flow, module) AS tag
    FROM (SELECT DISTINCT flow, module FROM asked WHERE state = 'waiting') AS lane
  ), placed AS (
    SELECT asked.*, kept.control, kept.priority,
      kept.jobs + row_number() OVER (PARTITION BY asked.flow ORDER BY n) AS place,
      coalesce(lanes.tag - 1 + row_number() OVER (PARTITION BY asked.flow, asked.module, state ORDER BY n), 0) AS tag,
      CASE WHEN kept.control = 'cancelled' AND state <> 'committed' THEN 'cancelled' ELSE state END AS becomes
    FROM asked JOIN kept ON kept.flow = asked.flow
    LEFT JOIN lanes ON lanes.flow = asked.flow AND lanes.module = asked.module AND asked.state = 'waiting'
  ), judged AS (
    -- A flow's pause is the weakest: lifting it must not free what the guards hold.
    SELECT placed.*, CASE
        WHEN becomes <> 'waiting' THEN ''
        WHEN hold NOT IN ('', 'flow') THEN hold
        WHEN place > _most THEN 'jobs'
        WHEN control = 'paused' THEN 'flow'
        ELSE hold
      END AS held
    FROM placed
  )
  -- Numbered in their order, written in that of their ids: two that admit the same jobs do not wait for each other.
  INSERT INTO jobs (seq, id, module, flow, event_id, state, run, attempt, hold, ready, priority, tag, scope, revision,
    execution, admitted_at, started_at, ended_at, not_before, log, failures, failure, manifest, event, history)
  OVERRIDING SYSTEM VALUE
  SELECT number, id, module, flow, event_id, becomes, run, attempt, held,
    becomes = 'waiting' AND held = '' AND (not_before IS NULL OR not_before <= _now), priority, tag, scope, revision,
    execution, _now, started_at, CASE WHEN becomes <> 'waiting' THEN coalesce(ended_at, _now) END, not_before, log,
    failures, failure, manifest, event, ARRAY[line(_now, becomes, attempt, '"admission"', CASE
      WHEN becomes = 'cancelled' THEN '"its flow is cancelled"'
      WHEN failed IS NOT NULL THEN failed
      WHEN held <> '' THEN '"held: ' || held || '"'
      ELSE '""' END)]
  FROM (SELECT ordered.*, nextval(pg_get_serial_sequence('jobs', 'seq')) AS number
    FROM (SELECT * FROM judged ORDER BY n) AS ordered) AS numbered ORDER BY id
  ON CONFLICT (id) DO NOTHING
  RETURNING id;
END $$;

-- Why a job of a flow and a module may not be queued by hand: 'cancelled', 'gone', or '' where it may.
CREATE FUNCTION obstacle(_flow text, _module text, _now double precision) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  IF (open_flow(_flow, _now)).control = 'cancelled' THEN
    RETURN 'cancelled';
  END IF;
  IF NOT EXISTS (SELECT 1 FROM modules WHERE name = _module) THEN
    RETURN 'gone';
  END IF;
  RETURN '';
END $$;

-- 'queued', 'no', or an obstacle with the flow and the module.
CREATE FUNCTION requeue(_job text, _actor text, _clock double precision, OUT outcome text, OUT _flow text,
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
    tag = next_tag(_flow, _module), revision = '', owner = '', scope = '', failures = '{}', failure = NULL,
    manifest = NULL, troubled_at = NULL, cancelling = false, not_before = NULL, deadline = NULL, ended_at = NULL,
    history = grown(history, line(_now, 'waiting', attempt, _actor, '""'))
  WHERE id = _job;
  outcome := 'queued';
END $$;
"""

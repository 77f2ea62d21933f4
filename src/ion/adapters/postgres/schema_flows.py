"""Flows: their controls, priorities and counts; part of migration 1.

A control is kept on the flow's row, for jobs not born yet, and put on its open jobs in waves, since a flow may have a
million of them and no statement may take long. Whatever joins the flow's open jobs meanwhile already obeys the control,
so the waves come to an end; cut short they leave the control set, and asking again goes on with them. A wave of a
control that somebody has changed meanwhile does nothing.
"""

SCHEMA: str = """
-- '' where the control now stands, else the one that cannot be taken back.
CREATE FUNCTION control_flow(_flow text, _wanted text, _actor text, _clock double precision) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  _now double precision;
  _present text;
BEGIN
  PERFORM lock_flow_alone(_flow);
  _now := ledger_time(_clock);
  _present := (open_flow(_flow, _now)).control;
  IF _present = _wanted THEN
    RETURN '';
  END IF;
  IF _present = 'cancelled' THEN
    RETURN _present;
  END IF;
  UPDATE flows SET control = _wanted WHERE id = _flow;
  INSERT INTO actions (at, actor, action, subject)
    VALUES (_now, _actor, CASE _wanted WHEN '' THEN 'free' ELSE _wanted END, _flow);
  RETURN '';
END $$;

-- Puts a control on up to `_most` of the flow's open jobs; how many it changed.
CREATE FUNCTION control_wave(_flow text, _wanted text, _actor text, _most integer, _clock double precision)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  _now double precision;
  _some bigint[];
  _waiting integer := 0;
  _running integer := 0;
BEGIN
  PERFORM lock_flows(ARRAY[_flow]);
  _now := ledger_time(_clock);
  IF NOT EXISTS (SELECT 1 FROM flows WHERE id = _flow AND control = _wanted) THEN
    RETURN 0;
  END IF;
  CASE _wanted
  WHEN 'paused' THEN
    _some := ARRAY(SELECT seq FROM jobs WHERE state = 'waiting' AND flow = _flow AND hold = ''
      LIMIT _most FOR UPDATE);
    UPDATE jobs SET hold = 'flow', ready = false WHERE seq = ANY (_some);
  WHEN '' THEN
    _some := ARRAY(SELECT seq FROM jobs WHERE state = 'waiting' AND flow = _flow AND hold = 'flow'
      LIMIT _most FOR UPDATE);
    UPDATE jobs SET hold = '', ready = not_before IS NULL OR not_before <= _now WHERE seq = ANY (_some);
  WHEN 'cancelled' THEN
    _some := ARRAY(SELECT seq FROM jobs WHERE state = 'waiting' AND flow = _flow LIMIT _most FOR UPDATE);
    UPDATE jobs SET state = 'cancelled', hold = '', ready = false, ended_at = _now, not_before = NULL,
      history = grown(history, line(_now, 'cancelled', attempt, _actor, '"its flow was cancelled"'))
    WHERE seq = ANY (_some);
  END CASE;
  GET DIAGNOSTICS _waiting = ROW_COUNT;
  IF _wanted = 'cancelled' THEN
    _some := ARRAY(SELECT seq FROM jobs WHERE state = 'running' AND flow = _flow AND NOT cancelling
      LIMIT _most FOR UPDATE);
    UPDATE jobs SET cancelling = true,
      history = grown(history, line(_now, state, attempt, _actor, '"to be cancelled with its flow"'))
    WHERE seq = ANY (_some);
    GET DIAGNOSTICS _running = ROW_COUNT;
  END IF;
  RETURN _waiting + _running;
END $$;

CREATE FUNCTION prioritise(_flow text, _priority bigint, _clock double precision) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM lock_flow_alone(_flow);
  PERFORM open_flow(_flow, ledger_time(_clock));
  UPDATE flows SET priority = _priority WHERE id = _flow;
END $$;

-- On running jobs too, since they may wait again.
CREATE FUNCTION priority_wave(_flow text, _priority bigint, _most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  _some bigint[];
BEGIN
  PERFORM lock_flows(ARRAY[_flow]);
  IF NOT EXISTS (SELECT 1 FROM flows WHERE id = _flow AND priority = _priority) THEN
    RETURN 0;
  END IF;
  _some := ARRAY(SELECT seq FROM jobs WHERE state = 'waiting' AND flow = _flow AND priority <> _priority
    LIMIT _most FOR UPDATE);
  IF cardinality(_some) = 0 THEN
    _some := ARRAY(SELECT seq FROM jobs WHERE state = 'running' AND flow = _flow AND priority <> _priority
      LIMIT _most FOR UPDATE);
  END IF;
  UPDATE jobs SET priority = _priority WHERE seq = ANY (_some);
  RETURN cardinality(_some);
END $$;
"""

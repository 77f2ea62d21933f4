"""What is applied: modules with their revisions and health; part of migration 1."""

SCHEMA: str = """
-- Registers modules or their new revisions, given as an array of rows: the names that changed, or, where a name
-- belongs to another pipeline, that name and pipeline alone.
CREATE FUNCTION apply_modules(_rows json, _actor text, _clock double precision, OUT changed text, OUT owned_by text)
RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
  _row record;
BEGIN
  PERFORM lock_registry_alone();
  SELECT modules.name, modules.pipeline INTO changed, owned_by
  FROM json_to_recordset(_rows) AS asked (name text, pipeline text) JOIN modules ON modules.name = asked.name
  WHERE modules.pipeline <> asked.pipeline LIMIT 1;
  IF FOUND THEN
    RETURN NEXT;
    RETURN;
  END IF;
  owned_by := NULL;
  FOR _row IN SELECT * FROM json_to_recordset(_rows) AS asked (name text, pipeline text, revision text, body text) LOOP
    CONTINUE WHEN EXISTS (SELECT 1 FROM modules WHERE name = _row.name AND revision = _row.revision);
    INSERT INTO revisions (module, id, body) VALUES (_row.name, _row.revision, _row.body) ON CONFLICT DO NOTHING;
    INSERT INTO modules (name, pipeline, revision) VALUES (_row.name, _row.pipeline, _row.revision)
      ON CONFLICT (name) DO UPDATE SET revision = excluded.revision;
    INSERT INTO actions (at, actor, action, subject)
      VALUES (ledger_time(_clock), _actor, 'apply ' || _row.revision, _row.name);
    changed := _row.name;
    RETURN NEXT;
  END LOOP;
  IF changed IS NOT NULL THEN
    UPDATE registry SET version = version + 1;
  END IF;
END $$;

CREATE FUNCTION remove_module(_module text, _actor text, _clock double precision) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM lock_registry_alone();
  DELETE FROM modules WHERE name = _module;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE registry SET version = version + 1;
  INSERT INTO actions (at, actor, action, subject) VALUES (ledger_time(_clock), _actor, 'remove', _module);
  RETURN true;
END $$;

CREATE FUNCTION pause_module(_module text, _paused boolean, _actor text, _clock double precision) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM lock_module_alone(_module);
  UPDATE modules SET paused = _paused, dead_in_row = CASE WHEN _paused THEN dead_in_row ELSE 0 END,
    trouble_in_row = CASE WHEN _paused THEN trouble_in_row ELSE 0 END, failed_at = CASE WHEN _paused THEN failed_at END
  WHERE name = _module;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO actions (at, actor, action, subject)
    VALUES (ledger_time(_clock), _actor, CASE WHEN _paused THEN 'pause' ELSE 'start' END, _module);
  RETURN true;
END $$;

CREATE FUNCTION registered(_clock double precision, OUT body text, OUT paused boolean, OUT dead integer,
  OUT trouble integer, OUT quiet_s double precision) RETURNS SETOF record LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY SELECT revisions.body, modules.paused, dead_in_row, trouble_in_row,
    coalesce(abs(ledger_time(_clock) - failed_at), 0)
  FROM modules JOIN revisions ON revisions.module = modules.name AND revisions.id = modules.revision ORDER BY name;
END $$;
"""

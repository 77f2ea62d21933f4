"""A schema with as many jobs and records as one likes, made on the server itself."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.stores.postgres_server import PostgresServer

FLOW = 1000
"""How many jobs a flow has."""

# Of a thousand jobs of a flow: most have ended, and every state and every kind of waiting is there.
_JOBS = """
INSERT INTO {schema}.jobs (id, module, flow, event_id, state, run, attempt, hold, ready, priority, tag, owner, scope,
  revision, execution, admitted_at, ended_at, not_before, deadline, log, failure, history, event, manifest)
SELECT lpad(n::text, 9, '0') || '-job', 'm' || n % 7, 'flow-' || n / {flow}, 'event-' || md5((n / 2)::text), state, 0,
  (state <> 'waiting')::integer, CASE WHEN part BETWEEN 50 AND 69 THEN 'flow' ELSE '' END, part < 30, n / {flow} % 3,
  n % {flow}, CASE WHEN state IN ('running', 'committed') THEN 'owner-' || n / {flow} % 5 ELSE '' END, 'here',
  'current', '', 1893456000, CASE WHEN part >= 72 THEN 1893456000 END,
  CASE WHEN part BETWEEN 30 AND 49 THEN 1893456000 + n END,
  CASE WHEN state = 'running' THEN 1893456000 + n / {flow} END, '',
  CASE WHEN state = 'dead' THEN '{{"kind":"module","message":"It exited with 1."}}' END,
  ARRAY['{{"at":"2030-01-01T00:00:00Z","state":"waiting","attempt":0,"actor":"a"}}'],
  '{{"id":"event-' || md5((n / 2)::text) || '","type":"photo","source":"/test","correlation_id":"flow-' || n / {flow}
    || '","parent_id":"frontapi","time":"2030-01-01T00:00:00Z"}}',
  CASE WHEN part BETWEEN 71 AND 100 THEN '{{"blob":"b","sha256":"0","execution":"","started_at":"2030-01-01T00:00:00Z",'
    || '"ended_at":"2030-01-01T00:00:00Z"}}' END
FROM (
  SELECT n, n % {flow} AS part, CASE WHEN n % {flow} < 70 THEN 'waiting' WHEN n % {flow} = 70 THEN 'running'
    WHEN n % {flow} = 71 THEN 'committed' WHEN n % {flow} < 150 THEN 'dead' WHEN n % {flow} < 200 THEN 'cancelled'
    WHEN n % {flow} < 250 THEN 'superseded' WHEN n % {flow} < 300 THEN 'expired' ELSE 'released' END AS state
  FROM generate_series(0, {rows} - 1) AS n) AS made
"""
_TALLIES = """
INSERT INTO {schema}.tallies SELECT flow, module, 0, count(*) FILTER (WHERE state = 'waiting'),
  count(*) FILTER (WHERE state = 'running'), count(*) FILTER (WHERE state = 'committed'),
  count(*) FILTER (WHERE state = 'released'), count(*) FILTER (WHERE state = 'dead'),
  count(*) FILTER (WHERE state = 'cancelled'), count(*) FILTER (WHERE state = 'superseded'),
  count(*) FILTER (WHERE state = 'expired'), count(*) FILTER (WHERE state = 'waiting' AND hold <> '')
FROM {schema}.jobs GROUP BY flow, module
"""
_FLOWS = """
INSERT INTO {schema}.flows (id, started_at) SELECT 'flow-' || n, 1893456000
FROM generate_series(0, ({rows} - 1) / {flow}) AS n
"""
_RECORDS = """
INSERT INTO {schema}.records (kind, id, name, event_id, correlation_id, parent_event_id, body)
SELECT CASE WHEN n % {flow} = 0 THEN 'modulelogs' ELSE 'insight' END, 'record-' || n, 'm' || n % 7,
  'event-' || md5((n / 2)::text), 'flow-' || n / {flow}, 'frontapi', '{{"data":[]}}'
FROM generate_series(0, {rows} - 1) AS n
"""


def fill(server: PostgresServer, schema: str, rows: int, *, records: int = 0, logged: bool = False) -> None:
    """Puts `rows` jobs, a thousand a flow, and `records` records into a schema; its statistics are made anew.

    Indexes are made afterwards. Unless `logged`, nothing goes through the server's log, then or later. Together that
    takes a third of the time.
    """
    server.execute(f"ALTER TABLE {schema}.jobs DISABLE TRIGGER USER")
    tables = {"jobs": (rows, (_JOBS, _TALLIES, _FLOWS)), "records": (records, (_RECORDS,))}
    with ThreadPoolExecutor() as threads:
        for done in [
            threads.submit(_fill, server, schema, table, *what, logged=logged) for table, what in tables.items()
        ]:
            done.result()
    server.execute(f"ALTER TABLE {schema}.jobs ENABLE TRIGGER USER")
    server.execute(f"ANALYZE {schema}.jobs, {schema}.tallies, {schema}.flows, {schema}.records")


def _fill(
    server: PostgresServer, schema: str, table: str, rows: int, statements: Sequence[str], *, logged: bool
) -> None:
    indexes = server.execute(
        f"SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = '{schema}' AND tablename = '{table}'"
        " AND indexdef LIKE 'CREATE INDEX%'"
    )
    for name, _ in indexes:
        server.execute(f"DROP INDEX {schema}.{name}")
    if not logged:
        server.execute(f"ALTER TABLE {schema}.{table} SET UNLOGGED")
    for statement in statements:
        server.execute(statement.format(schema=schema, rows=rows, flow=FLOW))
    for _, definition in indexes:
        server.execute(str(definition))

"""A MongoDB ledger with as many jobs that have ended as one likes, written as they are stored."""

from ion.adapters.ledger.mongo import MongoLedger
from ion.adapters.ledger.mongo_rows import shard_of, standing
from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.mongo.schema import FLOWS, JOBS, LINES
from ion.model import ids
from ion.testing.conformance.ledger_stage import claim, manifest, revision, waiting_job

FLOW = 100
"""How many jobs a flow has."""
AT_ONCE = 5000


async def fill(database: MongoDatabase, rows: int) -> None:
    """Released jobs of the module `detect`, in the flows `past0`, `past1`, … of a hundred each."""
    ledger = MongoLedger(database)
    await ledger.apply([revision()], "test")
    await ledger.admit([waiting_job(flow="first")])
    (job,) = await ledger.claim(claim(owner="past"))
    await ledger.commit(job.id, 1, manifest())
    await ledger.released(job.id, "past")
    (model,) = await database.find(JOBS, {"_id": job.id})
    (flow,) = await database.find(FLOWS, {"_id": "first"})
    for start in range(0, rows, AT_ONCE):
        documents = []
        for number in range(start, min(start + AT_ONCE, rows)):
            key = ids.new_id()
            document = {**model, "_id": key, "shard": shard_of("detect", key), "flow": f"past{number // FLOW}"}
            document |= {"event_id": key, "seq": database.next_place()}
            document["place"], document["rank"] = standing(document)
            documents.append(document)
        await database.insert(JOBS, documents)
    await database.insert(FLOWS, [{**flow, "_id": f"past{n}", "reserved": FLOW} for n in range(rows // FLOW)])
    assert (await database.find(LINES, {}))[0]["_id"] == "detect"

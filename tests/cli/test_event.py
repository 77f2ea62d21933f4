"""`ion event create`: root events by hand."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ion.dispatcher.stores import Stores
from ion.model.ids import is_uuid, new_id

if TYPE_CHECKING:
    from tests.cli.conftest import Bench


def create(bench: "Bench", *arguments: str) -> Any:
    return bench.json("event", "create", *arguments)


def test_create_raises_an_event_and_prints_its_context(bench: "Bench") -> None:
    """The answer has the shape of the front API's; the event is in the ledger with its key/values and subject."""
    answer = create(bench, "--event-type", "photo", "--set", "kind=cat", "--set", "q=a=b", "--subject", "a cat")
    context = answer["context"]
    assert answer["type"] == "photo"
    assert {k: context[k] for k in ("name", "parentEventId", "documentType")} == {
        "name": "cli",
        "parentEventId": "cli",
        "documentType": "eventMeta",
    }
    assert is_uuid(context["eventId"])
    (job,) = bench.jobs("cli")
    assert (job.event.id, job.correlation_id) == (context["eventId"], context["correlationId"])
    assert (job.event.data, job.event.subject) == ({"kind": "cat", "q": "a=b"}, "a cat")


def test_create_takes_the_originals_flags(bench: "Bench") -> None:
    """Ids, parent and name are those that were given."""
    event, parent = new_id(), new_id()
    answer = create(
        bench,
        *("--event-type", "photo", "--event-id", event, "--correlation-id", "album-3"),
        *("--parent-event-id", parent, "--event-name", "scanner"),
    )
    assert answer["context"] == {
        "name": "scanner",
        "eventId": event,
        "correlationId": "album-3",
        "parentEventId": parent,
        "documentType": "eventMeta",
    }


def test_create_again_changes_nothing(bench: "Bench") -> None:
    """The same id is raised once; the second answer says that it is a duplicate."""
    first = create(bench, "--event-type", "photo", "--event-id", "7")
    again = create(bench, "--event-type", "photo", "--event-id", "7")
    assert again == first | {"duplicate": True}
    assert len(bench.jobs("cli")) == 1


def test_create_stores_files(bench: "Bench", tmp_path: Path) -> None:
    """Each --file travels with the event under its own name; the first one is the subject."""
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text(name)
    create(bench, "--event-type", "photo", "--file", str(tmp_path / "a.jpg"), "--file", str(tmp_path / "b.jpg"))
    (job,) = bench.jobs("cli")
    assert ([file.path for file in job.event.files], job.event.subject) == (["a.jpg", "b.jpg"], "a.jpg")

    async def content(stores: Stores) -> bytes:
        return await stores.blobs.get_bytes(job.event.files[1].blob)

    assert bench.do(content) == b"b.jpg"


def test_create_refuses_a_type_that_nobody_hears(bench: "Bench") -> None:
    """A misspelt type exits with 2, offers the nearest and raises nothing, unless --force is given."""
    refused = bench.ion("event", "create", "--event-type", "foto", code=2).stderr
    assert "nobody hears events of type 'foto'; did you mean 'photo'?" in refused
    assert bench.jobs("cli") == ()
    assert create(bench, "--event-type", "foto", "--force")["type"] == "foto"


def test_create_refuses_what_cannot_be_used(bench: "Bench", tmp_path: Path) -> None:
    """Bad key/values, missing files, and Ion's own types exit with 2 and one sentence."""
    for arguments, sentence in (
        (("--event-type", "photo", "--set", "kind"), "'kind' is no key and value: write KEY=VALUE"),
        (("--event-type", "photo", "--set", "=cat"), "'=cat' is no key and value: write KEY=VALUE"),
        (("--event-type", "photo", "--set", "a=1", "--set", "a=2"), "the key 'a' is given twice"),
        (("--event-type", "photo", "--file", str(tmp_path / "gone")), "gone cannot be read"),
        (("--event-type", "ion.own", "--force"), "events of type 'ion.own' are Ion's own"),
        ((), "Missing option '--event-type'"),
    ):
        result = bench.ion("event", "create", *arguments, code=2)
        assert sentence in result.stderr, result.stderr
        assert result.stdout == ""
    assert bench.jobs("cli") == ()


def test_create_prints_one_json_document(bench: "Bench") -> None:
    """Nothing but the answer stands on standard output."""
    assert list(json.loads(bench.ion("event", "create", "--event-type", "photo").stdout)) == ["context", "type"]

"""The front API as a client sees it, and what it leaves in the ledger."""

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ion.config.settings import Front
from ion.gateway.front import front_api
from ion.model import ids

if TYPE_CHECKING:
    from tests.gateway.conftest import Place

STRUCTURED = {"content-type": "application/cloudevents+json"}
BINARY = {"ce-specversion": "1.0", "ce-id": "17", "ce-source": "/camera/1", "ce-type": "photo"}


def cloud_event(**changes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "17", "source": "/camera/1", "type": "photo", **changes}


async def test_a_link_is_answered_as_the_original_did(client: httpx.AsyncClient, place: "Place") -> None:
    """`POST /` with a URL raises `frontapi.new_link` and answers with its context and type."""
    answer = await client.post("/", json={"url": "http://clips/a.mp4"})
    event = await place.event()
    assert answer.status_code == 200
    assert answer.json() == {
        "context": {
            "name": "frontapi",
            "eventId": event.id,
            "correlationId": event.correlation_id,
            "parentEventId": "frontapi",
            "documentType": "eventMeta",
        },
        "type": "frontapi.new_link",
    }
    assert (event.type, event.data, event.subject) == (
        "frontapi.new_link",
        {"url": "http://clips/a.mp4"},
        "http://clips/a.mp4",
    )


async def test_a_link_that_nobody_hears_is_accepted_with_a_warning(place: "Place") -> None:
    """The original accepted every link, so it is stored; the answer says that nothing will come of it."""
    await place.ledger.remove("hears", "test")
    async with place.client() as client:
        answer = await client.post("/", json={"url": "http://clips/a.mp4"})
    assert answer.status_code == 200
    assert "nobody hears" in answer.json()["warning"]
    assert (await place.event()).type == "frontapi.new_link"


async def test_a_link_needs_no_content_type(client: httpx.AsyncClient) -> None:
    """The original read the body whatever it was called, and `curl -d` calls it a form."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert (await client.post("/", content=b'{"url": "http://a"}', headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"{}", b'{"url": 1}', b'{"url": ""}', b'{"url": "here"}', b"\xff", b'{"url":' + b"[" * 9999],
)
async def test_a_link_that_is_none_is_refused(client: httpx.AsyncClient, place: "Place", body: bytes) -> None:
    """A body without a URL is malformed: 400 and one sentence."""
    answer = await client.post("/", content=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert await place.jobs() == ()


async def test_a_structured_cloud_event_is_raised(client: httpx.AsyncClient, place: "Place") -> None:
    """Its attributes are kept; its id becomes one of ours, derived from source and id."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = cloud_event(
        subject="a.jpg", time="2024-05-31T12:00:00Z", correlationid="flow 1", traceparent=trace, data={"n": [1, 2]}
    )
    answer = await client.post("/events", json=body, headers=STRUCTURED)
    event = await place.event()
    assert (answer.status_code, answer.json()["context"]["correlationId"]) == (200, "flow 1")
    assert (event.id, event.origid, event.source) == (ids.foreign_event_id("/camera/1", "17"), "17", "/camera/1")
    assert (event.subject, event.correlation_id, event.traceparent) == ("a.jpg", "flow 1", trace)
    assert (event.time.isoformat(), event.data) == ("2024-05-31T12:00:00+00:00", {"n": [1, 2]})


async def test_a_repeat_is_told_as_a_duplicate(client: httpx.AsyncClient, place: "Place") -> None:
    """A second request with the same source and id answers 200 with the first event's flow, and raises nothing."""
    first = await client.post("/events", json=cloud_event(), headers=STRUCTURED)
    second = await client.post("/events", json=cloud_event(data={"other": 1}), headers=STRUCTURED)
    assert (second.status_code, second.json()) == (200, {**first.json(), "duplicate": True})
    assert "duplicate" not in first.json()
    assert (await place.event()).data == {}


async def test_binary_data_of_a_structured_event_is_its_file(client: httpx.AsyncClient, place: "Place") -> None:
    """`data_base64` of a media type that is not JSON becomes a file named by the subject."""
    body = cloud_event(subject="cam/a.jpg", datacontenttype="image/jpeg", data_base64="AAEC")
    assert (await client.post("/events", json=body, headers=STRUCTURED)).status_code == 200
    assert await place.contents() == {"a.jpg": b"\x00\x01\x02"}


async def test_a_binary_mode_event_with_json_carries_data(client: httpx.AsyncClient, place: "Place") -> None:
    """The attributes are headers, percent-encoded; a JSON body is the data."""
    headers = {**BINARY, "ce-subject": "Z%C3%BCrich.jpg", "ce-correlationid": "flow 2"}
    answer = await client.post("/events", json={"kind": "face"}, headers=headers)
    event = await place.event()
    assert answer.status_code == 200
    assert (event.subject, event.correlation_id, event.data) == ("Zürich.jpg", "flow 2", {"kind": "face"})


async def test_a_binary_mode_event_with_another_body_carries_a_file(client: httpx.AsyncClient, place: "Place") -> None:
    """A body that is not JSON is streamed into the event's one file."""
    headers = {**BINARY, "ce-subject": "../a.jpg", "content-type": "image/jpeg"}
    assert (await client.post("/events", content=b"picture", headers=headers)).status_code == 200
    assert await place.contents() == {"a.jpg": b"picture"}
    assert place.spooled() == []


async def test_a_file_without_a_name_is_called_by_its_media_type(client: httpx.AsyncClient, place: "Place") -> None:
    """Without a subject to name it, the file is `data` with the media type's suffix."""
    await client.post("/events", content=b"%PDF", headers={**BINARY, "content-type": "application/pdf"})
    assert await place.contents() == {"data.pdf": b"%PDF"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (cloud_event(specversion="0.3"), "specversion"),
        (cloud_event(id=""), "'id' is empty"),
        (cloud_event(source=""), "'source' is empty"),
        (cloud_event(id=17), "id"),
        (cloud_event(type="ion.job"), "Ion's own"),
        (cloud_event(time="yesterday"), "time"),
        (cloud_event(time="2024-05-31T12:00:00"), "time zone"),
        (cloud_event(correlationid="a\nb"), "correlation id"),
        (cloud_event(correlationid="x" * 129), "correlation id"),
        (cloud_event(data=1, data_base64="AAEC"), "both"),
        (cloud_event(data_base64="!"), "base64"),
        ({"type": "photo"}, "specversion"),
        ([cloud_event()], "object"),
    ],
)
async def test_a_malformed_cloud_event_is_refused(place: "Place", body: Any, says: str) -> None:
    """The answer is 400 (422 where nobody hears the type), with one sentence that names the fault."""
    await place.ledger.remove("hears", "test")
    await place.hear("photo", "ion.job")
    async with place.client() as client:
        answer = await client.post("/events", content=json.dumps(body).encode(), headers=STRUCTURED)
    assert (answer.status_code, says in answer.json()["error"]) == (400, True), answer.text
    assert await place.jobs() == ()


async def test_a_stranger_cannot_name_blobs(client: httpx.AsyncClient, place: "Place") -> None:
    """`dataref` and `files` of a foreign event are not those of Ion: no blob of another flow is reached by them."""
    other = {"path": "a", "blob": "job/1/x/data/a", "size": 1}
    body = cloud_event(dataref="job/1/x/data/a", hops=-9, parentid="x", data={"files": [other]})
    assert (await client.post("/events", json=body, headers=STRUCTURED)).status_code == 200
    event = await place.event()
    assert (event.files, event.dataref, event.hops, event.parent_id) == ((), "", 0, "frontapi")


@pytest.mark.parametrize(
    "media", ["application/cloudevents-batch+json", "application/cloudevents+avro", "text/plain", "application/json"]
)
async def test_what_is_no_single_cloud_event_is_refused(client: httpx.AsyncClient, media: str) -> None:
    """Batches, other formats and plain documents get 415 and what to send instead."""
    answer = await client.post("/events", content=b"[]", headers={"content-type": media})
    assert answer.status_code == 415
    assert "application/cloudevents+json" in answer.json()["error"]


@pytest.mark.parametrize("mode", ["structured", "binary", "form"])
async def test_a_type_that_nobody_hears_is_refused(client: httpx.AsyncClient, place: "Place", mode: str) -> None:
    """A misspelt type answers 422 and offers the nearest that is heard."""
    if mode == "structured":
        answer = await client.post("/events", json=cloud_event(type="foto"), headers=STRUCTURED)
    elif mode == "binary":
        answer = await client.post("/events", content=b"x", headers={**BINARY, "ce-type": "foto"})
    else:
        answer = await client.post("/events/foto", files={"file": ("a.jpg", b"x")})
    assert answer.status_code == 422
    assert "did you mean 'photo'?" in answer.json()["error"]
    assert await place.jobs() == ()


async def test_a_form_raises_an_event_with_files(client: httpx.AsyncClient, place: "Place") -> None:
    """Each file part becomes a file, sub-folders kept, and each other field a key/value."""
    large = bytes(range(256)) * 10_000
    files = [("file", ("a b.jpg", b"one")), ("file", ("sub/ü.png", large)), ("other", ("empty.txt", b""))]
    answer = await client.post("/events/photo", data={"kind": "face", "note": "größe"}, files=files)
    event = await place.event()
    assert (answer.status_code, answer.json()["type"]) == (200, "photo")
    assert (event.data, event.subject) == ({"kind": "face", "note": "größe"}, "a b.jpg")
    assert await place.contents() == {"a b.jpg": b"one", "sub/ü.png": large, "empty.txt": b""}
    assert place.spooled() == []


async def test_a_type_may_have_slashes(client: httpx.AsyncClient, place: "Place") -> None:
    """Everything behind `/events/` is the type."""
    assert (await client.post("/events/clip/long", files={"f": ("a", b"x")})).status_code == 200
    assert (await place.event()).type == "clip/long"


async def test_a_form_may_name_its_event_in_headers(client: httpx.AsyncClient, place: "Place") -> None:
    """`ce-id`, `ce-subject` and `ce-correlationid` make an upload repeatable and put it into a flow."""
    headers = {"ce-id": "17", "ce-subject": "trip", "ce-correlationid": "flow 3"}
    first = await client.post("/events/photo", files={"f": ("a.jpg", b"x")}, headers=headers)
    again = await client.post("/events/photo", files={"f": ("a.jpg", b"x")}, headers=headers)
    event = await place.event()
    assert (first.json()["context"]["correlationId"], event.subject, event.origid) == ("flow 3", "trip", "17")
    assert again.json() == {**first.json(), "duplicate": True}


def part(disposition: str, content: bytes = b"x") -> bytes:
    return b"--B\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"


END = b"--B--\r\n"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (part('name="f"; filename="../a"') + END, "file name"),
        (part('name="f"; filename="/etc/passwd"') + END, "file name"),
        (part('name="f"; filename="a\\\\b"') + END, "file name"),
        (part('name="f"; filename="a"') + part('name="g"; filename="a"') + END, "given twice"),
        (part('name="f"; filename="a"') + part('name="g"; filename="a/b"') + END, "given twice"),
        (part('name="f"; filename=""') + END, "no name"),
        (part('name="k"') + part('name="k"') + END, "given twice"),
        (part('filename="a"') + END, "no name"),
        (part('name="k"', b"\xff") + END, "UTF-8"),
        (part('name="f"; filename="a"'), "last boundary"),
        (b"nonsense", "form"),
        (b"", "last boundary"),
    ],
)
async def test_a_malformed_form_is_refused(client: httpx.AsyncClient, place: "Place", body: bytes, says: str) -> None:
    """Unsafe or doubled names, missing names and a form cut short answer 400, and nothing stays behind."""
    headers = {"content-type": "multipart/form-data; boundary=B"}
    answer = await client.post("/events/photo", content=body, headers=headers)
    assert (answer.status_code, says in answer.json()["error"]) == (400, True), answer.text
    assert (await place.jobs(), place.spooled()) == ((), [])


async def test_a_file_that_was_not_chosen_is_no_file(client: httpx.AsyncClient, place: "Place") -> None:
    """A browser sends an empty part without a file name for an empty file field; it is left out."""
    body = part('name="k"', b"v") + part('name="f"; filename=""', b"") + END
    headers = {"content-type": "multipart/form-data; boundary=B"}
    assert (await client.post("/events/photo", content=body, headers=headers)).status_code == 200
    event = await place.event()
    assert (event.files, event.data) == ((), {"k": "v"})


@pytest.mark.parametrize("media", ["application/json", "multipart/form-data", ""])
async def test_an_upload_that_is_no_form_is_refused(client: httpx.AsyncClient, media: str) -> None:
    """Another media type answers 415, a form without a boundary 400."""
    answer = await client.post("/events/photo", content=b"{}", headers={"content-type": media})
    assert answer.status_code == (400 if "multipart" in media else 415)
    assert "multipart/form-data" in answer.json()["error"]


async def test_what_is_too_large_is_refused(place: "Place") -> None:
    """Bodies, documents, fields and the number of files are bounded: 413, and nothing stays behind."""
    async with place.client(max_body=2000, max_json=1000, max_files=2) as client:
        answers = [
            await client.post("/", content=b" " * 1001),
            await client.post("/events", content=b" " * 1001, headers=STRUCTURED),
            await client.post("/events", content=b" " * 2001, headers={**BINARY, "content-type": "image/png"}),
            await client.post("/events/photo", files={"f": ("a.jpg", b"x" * 2000)}),
            await client.post("/events/photo", data={"k": "x" * 1000}, files={"f": ("a.jpg", b"x")}),
            await client.post("/events/photo", files=[("f", (f"{n}.jpg", b"x")) for n in range(3)]),
        ]
    assert [answer.status_code for answer in answers] == [413] * 6, [answer.text for answer in answers]
    assert (await place.jobs(), place.spooled()) == ((), [])


async def test_with_tokens_only_their_bearers_get_in(place: "Place") -> None:
    """Without one of the tokens the answer is 401 and says how to send it; health is anyone's to see."""
    async with place.client(tokens=("secret", "other")) as client:
        for given in (b"", b"Bearer wrong", b"Basic secret", b"Bearer ", "é".encode()):
            refused = await client.post("/", json={"url": "http://a"}, headers={b"authorization": given})
            assert (refused.status_code, list(refused.json())) == (401, ["error"])
            assert refused.headers["www-authenticate"].startswith("Bearer")
        assert await place.jobs() == ()
        for token in ("secret", "other"):
            bearer = {"authorization": f"Bearer {token}"}
            assert (await client.post("/", json={"url": "http://a"}, headers=bearer)).status_code == 200
        assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://evil.example", 403), ("null", 403), ("http://localhost:3000", 200), ("http://127.0.0.1:9001", 200)],
)
async def test_a_foreign_web_page_cannot_raise_events(client: httpx.AsyncClient, origin: str, status: int) -> None:
    """Without tokens, a request that a browser made for a page of another host is refused."""
    answer = await client.post("/", json={"url": "http://a"}, headers={"origin": origin})
    assert answer.status_code == status


async def test_too_many_open_jobs_hold_new_events_back(place: "Place") -> None:
    """With the backlog full the answer is 429 and when to come again; what is in the ledger stays."""
    async with place.client(backlog_most=1) as client:
        assert (await client.post("/", json={"url": "http://a"})).status_code == 200
    async with place.client(backlog_most=1) as client:
        held = await client.post("/", json={"url": "http://b"})
    assert (held.status_code, held.headers["retry-after"]) == (429, "10")
    assert len(await place.jobs()) == 1


async def test_a_cheaper_count_of_open_jobs_is_used(place: "Place") -> None:
    """Who can count open jobs cheaper gives the count."""

    async def count() -> int:
        return 5

    settings = Front(backlog_most=5)
    app = front_api(ledger=place.ledger, blobs=place.blobs, settings=settings, spool=place.spool, open_jobs=count)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        assert (await client.post("/", json={"url": "http://a"})).status_code == 429


async def test_errors_are_one_sentence_of_json(client: httpx.AsyncClient) -> None:
    """An unknown path and a wrong method too answer with `error`."""
    nowhere, wrong = await client.get("/nowhere"), await client.get("/events")
    assert (nowhere.status_code, "/events/TYPE" in nowhere.json()["error"]) == (404, True)
    assert (wrong.status_code, wrong.headers["allow"], "POST" in wrong.json()["error"]) == (405, "POST", True)


async def test_while_the_ledger_is_away_nothing_is_accepted(place: "Place") -> None:
    """A closed ledger answers 503 with when to come again, on the health page too, and no blob stays behind."""
    async with place.client() as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        await place.database.__aexit__(None, None, None)
        answers = [await client.get("/healthz"), await client.post("/", json={"url": "http://a"})]
        answers.append(await client.post("/events/photo", files={"f": ("a.jpg", b"x")}))
    assert [answer.status_code for answer in answers] == [503] * 3
    assert all(answer.headers["retry-after"] for answer in answers)
    assert place.spooled() == []

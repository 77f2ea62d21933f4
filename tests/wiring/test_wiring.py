"""What is chosen and refused when a store is opened, and where secrets are found."""

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import msgspec
import pytest

from ion.adapters.bus.nats import NatsBus
from ion.adapters.bus.nats_settings import NatsSettings
from ion.config.backends import Backend
from ion.config.settings import SecretSource, Settings
from ion.errors import UnavailableError, UnsupportedError
from ion.model.module import Module, revise
from ion.model.retention import Retention
from ion.wiring import find_store, open_executors, open_store
from ion.wiring.remembered import remembered

MEMORY, SQLITE = Backend(kind="memory"), Backend(kind="sqlite")
NATS = Backend(kind="nats", options=NatsSettings())


@pytest.mark.parametrize(
    ("ledger", "documents", "bus"), [(MEMORY, SQLITE, SQLITE), (SQLITE, MEMORY, SQLITE), (MEMORY, MEMORY, SQLITE)]
)
async def test_what_would_contradict_itself_after_a_crash_is_refused(
    tmp_path: Path, ledger: Backend, documents: Backend, bus: Backend
) -> None:
    """Ledger, documents and bus are all in memory or none is."""
    with pytest.raises(UnsupportedError, match="all three"):
        async with open_store(tmp_path, Settings(ledger=ledger, documents=documents, bus=bus)):
            pass


async def test_one_file_holds_ledger_documents_and_bus(tmp_path: Path) -> None:
    """By default admission is the publication: the bus and the ledger name the same store."""
    async with open_store(tmp_path) as stores:
        assert stores.ledger.guarantees.store == stores.bus.guarantees.store == str(tmp_path / "ion.db")
    async with open_store(tmp_path, Settings(ledger=MEMORY, documents=MEMORY, bus=MEMORY)) as stores:
        assert stores.ledger.guarantees.store == stores.bus.guarantees.store


async def test_a_bus_on_another_host_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens the store later has it too, with its secrets from the environment; no server is asked for that."""
    options = NatsSettings(servers=("nats://127.0.0.1:1",), user="ion", password="s3cret")
    async with open_store(tmp_path, Settings(bus=Backend(kind="nats", options=options))) as stores:
        assert stores.bus.guarantees.store != stores.ledger.guarantees.store
    assert "s3cret" not in (tmp_path / "settings.json").read_text()
    monkeypatch.setenv("ION_BUS_PASSWORD", "from the environment")
    async with open_store(tmp_path) as stores:
        assert isinstance(stores.bus, NatsBus)
        assert stores.bus._settings == msgspec.structs.replace(options, password="from the environment")
    async with open_store(tmp_path, Settings()) as stores:
        assert stores.bus.guarantees.store == stores.ledger.guarantees.store
    assert remembered(tmp_path).bus is None


@pytest.mark.parametrize(
    ("max_age_s", "ids_s", "fault"),
    [(86400.0, 86400.0, "86400 s and"), (None, 9e9, "for ever"), (86400.0, 86401.0, ""), (None, None, "")],
)
async def test_a_bus_that_outlives_the_ids_is_refused(
    tmp_path: Path, max_age_s: float | None, ids_s: float | None, fault: str
) -> None:
    """A late delivery would run a job again whose id has been forgotten."""
    bus = Backend(kind="nats", options=NatsSettings(max_age_s=max_age_s))
    settings = Settings(bus=bus, retention=Retention(ids_s=ids_s))
    with pytest.raises(UnsupportedError, match=fault) if fault else nullcontext():
        async with open_store(tmp_path, settings):
            pass


async def test_a_ledger_in_memory_has_no_bus_elsewhere(tmp_path: Path) -> None:
    """After a crash the bus would go on with what nobody has a row of."""
    with pytest.raises(UnsupportedError, match="in memory"):
        async with open_store(tmp_path, Settings(ledger=MEMORY, documents=MEMORY, bus=NATS)):
            pass


async def test_a_missing_client_is_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install, when the store is opened."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"install ion-events\[nats\]"):
        async with open_store(tmp_path, Settings(bus=NATS)):
            pass


_READS_THE_LEDGER = """
import asyncio, sys
from pathlib import Path
from ion.wiring import open_store

async def main():
    async with open_store(Path(sys.argv[1])) as stores:
        assert stores.bus.guarantees.store != stores.ledger.guarantees.store
        assert not await stores.ledger.modules()

asyncio.run(main())
clients = {"nats", "aio_pika", "aiormq", "aiohttp", "azure.core", "azure.identity", "azure.servicebus"}
print(*clients & set(sys.modules))
"""


@pytest.mark.parametrize("kind", ["nats", "rabbitmq", "servicebus"])
def test_a_store_with_a_bus_elsewhere_opens_without_its_client(tmp_path: Path, kind: str) -> None:
    """The clients cost up to a second and most commands do not use them; nor is a secret of the bus asked for."""
    (tmp_path / "settings.json").write_text(json.dumps({"places": {"bus": {"kind": kind}}}))
    program = [sys.executable, "-c", _READS_THE_LEDGER, str(tmp_path)]
    assert subprocess.run(program, check=True, capture_output=True, text=True).stdout.split() == []


async def test_secrets_are_found_where_they_are_said_to_be(tmp_path: Path) -> None:
    """In the variable or file that the pipeline names; else in a variable or a file of the secret's own name."""
    (tmp_path / "token").write_text("from a file\n")
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "mounted").write_text("from the folder\n")
    settings = Settings(
        secrets={
            "named": SecretSource(env="OTHER"),
            "filed": SecretSource(file=str(tmp_path / "token")),
            "lost": SecretSource(file=str(tmp_path / "none")),
            "plain": SecretSource(env="NOT_SET"),
        }
    )
    environ = {"OTHER": "x", "plain": "not this one", "direct": "y", "ION_SECRETS_DIR": str(folder), "PATH": "/bin"}
    async with (
        open_store(tmp_path / "store", settings) as stores,
        open_executors(tmp_path / "store", stores, settings, environ) as executors,
    ):
        for name in ("named", "filed", "direct", "mounted"):
            executors["local"].check(revise(Module(name="m", command=("true",), secrets={"KEY": name})))
        for name in ("lost", "plain", "nowhere", "../token"):
            with pytest.raises(UnavailableError, match=f"needs the secret '{name}'"):
                executors["local"].check(revise(Module(name="m", command=("true",), secrets={"KEY": name})))


def test_a_store_is_found_from_below(tmp_path: Path) -> None:
    """The one named, else ION_HOME, else the nearest folder `.ion` that has a database."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / ".ion").mkdir()
    assert find_store(inner, None, {}) is None
    (tmp_path / ".ion" / "ion.db").write_bytes(b"")
    assert find_store(inner, None, {}) == tmp_path / ".ion"
    assert find_store(inner, None, {"ION_HOME": "/x"}) == Path("/x")
    assert find_store(inner, tmp_path / "said", {"ION_HOME": "/x"}) == tmp_path / "said"

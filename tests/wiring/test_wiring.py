"""What is chosen and refused when a store is opened, and where secrets are found."""

from pathlib import Path

import pytest

from ion.config.settings import Backend, SecretSource, Settings
from ion.errors import UnavailableError, UnsupportedError
from ion.model.module import Module, revise
from ion.wiring import find_store, open_executors, open_store

MEMORY, SQLITE = Backend(kind="memory"), Backend(kind="sqlite")


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

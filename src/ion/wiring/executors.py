"""Where jobs run: the executors of this host, and the dispatcher that gives them work."""

import functools
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from ion.config.settings import SecretSource, Settings
from ion.dispatcher.finish import Observer
from ion.dispatcher.served import Choice, every
from ion.dispatcher.service import Dispatcher, DispatcherSettings
from ion.dispatcher.stores import Stores
from ion.errors import UnavailableError, UnsupportedError
from ion.model.job import Job
from ion.model.module import Resources, Revision
from ion.ports.executor import Executor, Handler
from ion.wiring.batch import azurebatch, check_for_account, has_account
from ion.wiring.cluster import check_for_cluster, has_cluster, kubernetes

SPARE_CACHE_S = 2.0


@asynccontextmanager
async def open_executors(
    store: Path, stores: Stores, settings: Settings, environ: Mapping[str, str]
) -> AsyncIterator[Mapping[str, Executor]]:
    """Opens the executors of this host, by provider."""
    executors = dict(_executors(store, stores.handler, settings, environ, guard_links=stores.blobs.guarantees.links))
    if has_cluster(settings.cluster, environ):
        executors["kubernetes"] = kubernetes(store, stores, settings, environ)
    if has_account(settings.azurebatch):
        secrets = functools.partial(find_secret, settings.secrets, environ)
        executors["azurebatch"] = azurebatch(store, stores, settings, environ, secrets)
    async with AsyncExitStack() as stack:
        for executor in executors.values():
            await stack.enter_async_context(executor)
        yield executors


def check_module(revision: Revision, store: Path, settings: Settings, environ: Mapping[str, str]) -> None:
    """Whether a module can run on this host; nothing is opened or made for the answer.

    Raises:
        UnsupportedError: it never can. UnavailableError: not now.
    """
    module = revision.module
    _check_for(module.provider, revision, store, settings, environ)
    for provider in module.providers[1:]:
        try:
            _check_for(provider, revision, store, settings, environ)
        except UnsupportedError as error:  # a dispatcher elsewhere may well have it
            raise UnavailableError(f"a rule sends jobs to {provider}: {error}") from error


def _check_for(provider: str, revision: Revision, store: Path, settings: Settings, environ: Mapping[str, str]) -> None:
    from ion.adapters.blobs.filesystem import FilesystemBlobs
    from ion.handler import JobHandler

    name = revision.module.name
    if provider == "kubernetes":
        check_for_cluster(revision, settings, environ)
        return
    if provider == "azurebatch":
        check_for_account(revision, settings)
        return
    handler = JobHandler(FilesystemBlobs(store / "blobs"), host="")
    executors = _executors(store, handler, settings, environ, guard_links=False)
    if provider not in executors:
        raise UnsupportedError(
            f"module {name} is for the provider '{provider}', and this Ion has {', '.join(executors)}: "
            "set `provider: local`, perhaps in a profile"
        )
    executors[provider].check(revision)


def _executors(
    store: Path, handler: Handler, settings: Settings, environ: Mapping[str, str], *, guard_links: bool
) -> Mapping[str, Executor]:
    from ion.adapters.executors.local import LocalExecutor

    local = LocalExecutor(
        store / "work",
        handler,
        machine=_machine(settings),
        devices=_devices(settings),
        secrets=functools.partial(find_secret, settings.secrets, environ),
        environ=environ,
        guard_links=guard_links,
    )
    return {"local": local}


def open_dispatcher(
    store: Path,
    stores: Stores,
    executors: Mapping[str, Executor],
    settings: Settings,
    *,
    observe: Observer,
    released: Callable[[Job], None] = lambda _: None,
    final: Callable[[Job], bool] = lambda _: False,
    stop_grace_s: float = 30.0,
    serves: Choice = every,
    receives: Choice | None = None,
) -> Dispatcher:
    """A dispatcher on this host, to be opened by `async with`; see there for what is not said here."""
    ours = DispatcherSettings(locks=store / "run", max_hops=settings.guards.max_hops, stop_grace_s=stop_grace_s)
    return Dispatcher(
        stores,
        executors,
        ours,
        observe=observe,
        released=released,
        spare=_spare(store),
        final=final,
        serves=serves,
        receives=receives,
    )


def _machine(settings: Settings) -> Resources:
    from ion.adapters.executors.local.limits import this_machine

    found, said = this_machine(), settings.machine
    return msgspec.structs.replace(
        found, cpu=said.cpu or found.cpu, memory=said.memory or found.memory, gpu=len(_devices(settings))
    )


def _devices(settings: Settings) -> tuple[str, ...]:
    from ion.adapters.executors.local.limits import gpu_devices

    return settings.machine.gpus or gpu_devices()


def find_secret(sources: Mapping[str, SecretSource], environ: Mapping[str, str], name: str) -> str | None:
    """A secret by name: where the pipeline file says, else the variable of that name, else the file of that name in
    `ION_SECRETS_DIR`; None where there is none.
    """
    if (source := sources.get(name)) is not None:
        return environ.get(source.env) if source.env else _content(Path(source.file))
    if name in environ:
        return environ[name]
    folder = environ.get("ION_SECRETS_DIR")
    return _content(Path(folder) / name) if folder and "/" not in name else None


def _content(file: Path) -> str | None:
    """A file's text without the line end that editors leave; None where it cannot be read."""
    try:
        return file.read_text().rstrip("\n")
    except (OSError, UnicodeError):
        return None


def _spare(store: Path) -> Callable[[], float]:
    """How much of the store's disk is free, 0 to 1; asked of the system every other second at most."""
    last = [0.0, 1.0]

    def spare() -> float:
        now = time.monotonic()
        if now - last[0] > SPARE_CACHE_S or not last[0]:
            usage = shutil.disk_usage(store)
            last[:] = now, usage.free / usage.total
        return last[1]

    return spare

"""What a module is checked for before it is accepted from outside: everything that could only fail later, when a job of
it is due. Pure; nothing is looked up, so whether a host has what it needs is for the host to say.

A pipeline file's decoder refuses most of these things too, with their line.
"""

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from ion.adapters.executors.azurebatch import settings as batch
from ion.adapters.executors.kubernetes import settings as kubernetes
from ion.errors import InvalidError
from ion.management.graph import Graph, Severity
from ion.messaging.filters import compile_filters
from ion.messaging.nearest import suggestion
from ion.model.module import Module, Resources, Retries, Rule

NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
NAME_WANTS = "small letters, digits and dashes, beginning with a letter, at most 40 characters"
EVENT_TYPE = re.compile(r"[^\s,*\x00-\x1f\x7f]{1,255}")
VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
PROVIDERS = ("local", "kubernetes", "azurebatch")
RUNTIMES = ("", "process", "container")
OWN = "ion."
LOCAL_FILE = "file:"
"""Before a program on the host, and its arguments as a shell splits them, where an image would stand."""

_DOMAIN = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]{1,5})?/)?"
)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
IMAGE = re.compile(
    rf"(?P<name>{_DOMAIN}{_PART}(?:/{_PART})*)(?::\w[\w.-]{{0,127}})?(?:@[a-z0-9+._-]+:[0-9a-fA-F]{{32,}})?", re.ASCII
)
IMAGE_NAME_MOST = 255

SHOWN, SENTENCE_MOST = 40, 1000
"""Characters of a foreign name in a message, and of the message."""
BODY_MOST = 64 * 1024
"""Bytes of a module's whole configuration."""
COUNT_MOST = 2**31 - 1
PRIORITY_MOST = 1_000_000
YEARS_S = 10 * 366 * 86_400.0
RESOURCES_MOST = {"cpu": 4096.0, "memory": 2.0**50, "gpu": 1024.0, "disk": 2.0**60, "shm": 2.0**50}


def normal(module: Module) -> Module:
    """The module as it is kept: the provider in small letters; a program of the host (`file:PATH` in the place of an
    image) as its command. What cannot be read so is left for the checks to refuse.
    """
    rules = tuple(msgspec.structs.replace(rule, provider=rule.provider.lower()) for rule in module.route)
    module = msgspec.structs.replace(module, provider=module.provider.lower(), route=rules)
    if not module.image.startswith(LOCAL_FILE) or module.provider != "local":
        return module
    program = words_of(module.image.removeprefix(LOCAL_FILE))
    return msgspec.structs.replace(module, image="", command=(*program, *module.command)) if program else module


def words_of(command: str) -> tuple[str, ...]:
    """A command's words as a shell splits them; none where a quote stays open."""
    try:
        return tuple(shlex.split(command))
    except ValueError:
        return ()


def check_modules(modules: Sequence[Module], pipeline: str) -> None:
    """Raises InvalidError: the first fault of them all, and how many more there are."""
    found = [*_of_all(modules, pipeline)]
    found += [f"module {one.name[:SHOWN]}: {fault}" for one in modules for fault in faults(one)]
    if found:
        more = f" (and {len(found) - 1} more like this)" if len(found) > 1 else ""
        raise InvalidError(f"{_line(found[0])}{more}")


def _line(text: str) -> str:
    """Foreign text on one line that a terminal can show."""
    line = "".join(character if character.isprintable() else "?" for character in text)
    return line if len(line) <= SENTENCE_MOST else f"{line[: SENTENCE_MOST - 1]}…"


def _of_all(modules: Sequence[Module], pipeline: str) -> Iterator[str]:
    if pipeline and not NAME.fullmatch(pipeline):
        yield f"the pipeline's name '{pipeline[:SHOWN]}' cannot be one: write {NAME_WANTS}"
    for name, times in Counter(module.name for module in modules).items():
        if times > 1:
            yield f"the module {name[:SHOWN]} is given {times} times: give each once"
    for module in modules:
        if module.pipeline != pipeline:
            said = (
                f"module {module.name[:SHOWN]} names the pipeline '{module.pipeline[:SHOWN]}', not '{pipeline[:SHOWN]}'"
            )
            yield f"{said}: name one for all"


def warnings(modules: Iterable[Module], changed: Iterable[str]) -> tuple[str, ...]:
    """What is most likely a mistake among modules that are registered together, as far as it is about those changed."""
    about = set(changed)
    problems = Graph.of(modules).problems()
    return tuple(p.message for p in problems if p.severity is Severity.WARNING and about & set(p.modules))


def faults(module: Module) -> Iterator[str]:
    """Everything for which a module is refused, each in words that follow its name."""
    if not NAME.fullmatch(module.name):
        yield f"its name cannot be one: write {NAME_WANTS}"
    yield from _events(module)
    yield from _runs(module)
    yield from _routes(module)
    yield from _elsewhere(module)
    yield from _surroundings(module)
    yield from _mounts(module)
    yield from _resources(module.resources)
    yield from _retries(module.retries)
    yield from _bounds(module)
    if len(msgspec.json.encode(module)) > BODY_MOST:
        yield f"its configuration takes more than {BODY_MOST // 1024} KiB: keep data in files, not in variables"


def _events(module: Module) -> Iterator[str]:
    for kind in [*(s.type for s in module.on), *module.emits]:
        if not EVENT_TYPE.fullmatch(kind):
            yield (
                f"'{kind[:SHOWN]}' cannot be an event type: write one without blanks, commas and asterisks, of at most"
                " 255 characters"
            )
    for kind in module.emits:
        if kind.startswith(OWN):
            yield f"it may not raise '{kind[:SHOWN]}': types that begin with '{OWN}' are raised by Ion alone"
    for subscription in module.on:
        try:
            compile_filters(subscription.filters)
        except InvalidError as error:
            yield f"its filter for '{subscription.type[:SHOWN]}' cannot be used: {error}"


def _runs(module: Module) -> Iterator[str]:
    if module.provider not in PROVIDERS:
        yield f"there is no provider '{module.provider[:SHOWN]}': {suggestion(module.provider, PROVIDERS)}"
    if module.runtime not in RUNTIMES:
        yield f"there is no runtime '{module.runtime[:SHOWN]}': write process or container, or leave it out"
    if module.command and not module.command[0]:
        yield "its command is empty: name a program"
    if any("\0" in word for word in module.command):
        yield "its command holds a NUL character: take it out"
    if not module.image and not module.command:
        yield "there is neither an image nor a command: give one of the two"
    elif not module.image and (module.provider != "local" or module.runtime == "container"):
        where = module.provider if module.provider != "local" else "a container"
        yield f"it has no image, and {where} needs one: give an image, or run it as a process with the provider local"
    elif not module.command and module.runtime == "process":
        yield "runtime process needs a command: give one, or leave the runtime out"
    if module.image:
        yield from _image(module.image, module.provider)
    handler = (module.kubernetes if module.provider == "kubernetes" else module.azurebatch).get("handlerImage", "")
    if handler:
        yield from _image(handler if isinstance(handler, str) else str(handler), module.provider)


def _routes(module: Module) -> Iterator[str]:
    for number, rule in enumerate(module.route, 1):
        where = f"rule {number} of its route"
        if rule.provider and rule.provider not in PROVIDERS:
            yield f"{where}: there is no provider '{rule.provider[:SHOWN]}': {suggestion(rule.provider, PROVIDERS)}"
        elif rule.provider not in ("", "local") and not module.image:
            yield f"{where} sends jobs to {rule.provider}, which needs an image: give one, or leave the rule out"
        if rule == Rule(provider=rule.provider, priority=rule.priority):
            yield f"{where} always holds: give it a size, filters or a time, or set the module's own provider"
        if rule.size_least < 0 or (rule.size_most is not None and rule.size_most < rule.size_least):
            yield f"{where} asks for a size that nothing has: change its bounds"
        if not (math.isfinite(rule.waited_s) and 0 <= rule.waited_s <= YEARS_S):
            yield f"{where} asks for a time that cannot be waited: give seconds, 0 or more"
        try:
            compile_filters(rule.filters)
        except InvalidError as error:
            yield f"a filter of {where} cannot be used: {error}"
    for priority in (module.priority, *(rule.priority for rule in module.route)):
        if abs(priority) > PRIORITY_MOST:
            yield f"its priority {priority} is out of bounds: give one from -{PRIORITY_MOST:,} to {PRIORITY_MOST:,}"


def _elsewhere(module: Module) -> Iterator[str]:
    try:
        if "kubernetes" in module.providers:
            kubernetes.options_of(module.kubernetes)
        if "azurebatch" in module.providers:
            batch.options_of(module.azurebatch)
    except InvalidError as error:
        yield str(error)


def _image(image: str, provider: str) -> Iterator[str]:
    if image.startswith(LOCAL_FILE):
        if provider != "local":
            yield f"the image '{image[:80]}' is a file of one host, which {provider[:SHOWN]} has not: give an image"
        else:
            yield f"'{image[:80]}' names no program: write file:PATH, in quotes where there are blanks in it"
        return
    found = IMAGE.fullmatch(image)
    if found is None or len(found["name"]) > IMAGE_NAME_MOST:
        yield f"'{image[:80]}' cannot be an image's name: write it as registry/repository:tag, in small letters"


def _surroundings(module: Module) -> Iterator[str]:
    for name in [*module.env, *module.secrets]:
        if not VARIABLE.fullmatch(name):
            yield f"'{name[:SHOWN]}' cannot be a variable's name: write letters, digits, dashes, dots and underscores"
    for name, value in module.env.items():
        if "\0" in value:
            yield f"the variable {name[:SHOWN]} holds a NUL character: take it out"
    for name, secret in module.secrets.items():
        if not secret:
            yield f"the variable {name[:SHOWN]} names no secret: give the secret's name"
    for name in sorted(module.env.keys() & module.secrets.keys()):
        yield f"the variable {name[:SHOWN]} stands in both env and secrets: remove one"


def _mounts(module: Module) -> Iterator[str]:
    for path, times in Counter(mount.path for mount in module.mounts).items():
        if times > 1:
            yield f"{times} mounts have the path {path[:80]}: change all but one"
        if not path.startswith("/") or ".." in path.split("/") or path == "/" or f"{path}/".startswith("/ion/"):
            yield f"nothing can be mounted at '{path[:80]}': choose an absolute path outside / and /ion"


def _resources(resources: Resources) -> Iterator[str]:
    for name, most in RESOURCES_MOST.items():
        amount = getattr(resources, name)
        if not 0 <= amount <= most:
            yield f"resources.{name} must be from 0 to {most:,g}, not {amount:,g}"


def _retries(retries: Retries) -> Iterator[str]:
    for name in ("module", "timeout", "memory", "lost"):
        yield from _within(f"retries.{name}", getattr(retries, name), 0, 1_000_000)
    yield from _within("retries.memory_factor", retries.memory_factor, 1, 1_000)
    for name in ("infrastructure_s", "backoff_s", "backoff_most_s"):
        yield from _within(f"retries.{name}", getattr(retries, name), 0, YEARS_S)
    if retries.backoff_s > retries.backoff_most_s:
        yield "retries.backoff_s is longer than retries.backoff_most_s: raise the latter"


def _bounds(module: Module) -> Iterator[str]:
    yield from _within("concurrency", module.concurrency, 1, COUNT_MOST)
    yield from _within("pause_after", module.pause_after, 1, COUNT_MOST)
    yield from _within("log_limit", module.log_limit, 1, 2**50)
    yield from _within("grace_s", module.grace_s, 0, YEARS_S)
    for name in ("timeout_s", "start_timeout_s"):
        seconds = getattr(module, name)
        if not 0 < seconds <= YEARS_S:
            yield f"{name} must be more than 0 seconds and at most ten years, not {seconds:,g}"
    for code in module.no_retry_on:
        yield from _within("an exit code in no_retry_on", code, 1, 255)


def _within(name: str, number: float, least: float, most: float) -> Iterator[str]:
    if math.isnan(number) or not least <= number <= most:
        yield f"{name} must be from {least:,g} to {most:,g}, not {number:,g}"

"""Pipeline files: what people mean loads as they mean it, and any other text is refused with file and line."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.config.test_pipeline_schema import SCHEMA, valid
from tests.fuzz.documents import VALUES, damaged
from tests.fuzz.profile import examples, one_sentence

from ion.config.kinds import plain_value
from ion.config.load import load_pipeline
from ion.config.pipeline import Pipeline
from ion.config.source import read_document
from ion.errors import PipelineError
from ion.model.module import Module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipelines")


# ---- what people mean -------------------------------------------------------------------------------------------

printable = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], max_codepoint=0xFFFD), min_size=1, max_size=8)
"""Any text that a YAML file can hold on one line, except a dollar, which means a variable."""
texts = printable.filter(lambda text: "$" not in text) | st.sampled_from(
    [
        "true",
        "no",
        "012",
        "1:30",
        "1e3",
        "null",
        "~",
        "- a",
        "a: b",
        "#",
        "'",
        '"',
        "*a",
        "&a",
        "!a",
        "|",
        "%",
        "@",
        " a ",
    ]
)
types = st.text(st.characters(categories=["L", "N"], include_characters=".-_/"), min_size=1, max_size=8).filter(
    lambda text: not text.startswith("ion.")
)
names = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
whole = st.integers(1, 1000)
durations = st.sampled_from(["250ms", "30s", "2h30m", "1d", 90, 1.5])
ages = durations | st.just("never")
sizes = st.sampled_from(["512Mi", "4Gi", "1G", 1, "1.5k", 10**12])
SECONDS = {"250ms": 0.25, "30s": 30.0, "2h30m": 9000.0, "1d": 86400.0, 90: 90.0, 1.5: 1.5}
BYTES = {"512Mi": 2**29, "4Gi": 2**32, "1G": 10**9, 1: 1, "1.5k": 1500, 10**12: 10**12}


def one_or_many(item: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[Any]:
    return item | st.lists(item, min_size=1, max_size=most)


def mapping(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


comparisons = st.dictionaries(
    st.sampled_from(["exact", "prefix", "suffix"]),
    st.dictionaries(st.sampled_from(["type", "subject", "data.a.b", "hops"]), texts, min_size=1, max_size=2),
    min_size=1,
    max_size=1,
)
filters = st.recursive(
    comparisons,
    lambda inner: (
        st.fixed_dictionaries({"not": inner})
        | st.dictionaries(
            st.sampled_from(["all", "any"]), st.lists(inner, min_size=1, max_size=2), min_size=1, max_size=1
        )
    ),
    max_leaves=3,
)
subscriptions = types | st.fixed_dictionaries({"type": types}, optional={"filters": st.lists(filters, max_size=2)})
resources = mapping(cpu=st.sampled_from([2, "500m", 0.5]), memory=sizes, gpu=st.integers(0, 8), disk=sizes, shm=sizes)
retries = st.integers(0, 1000) | mapping(
    module=whole,
    timeout=whole,
    lost=whole,
    memory=whole | st.fixed_dictionaries({"times": whole}, optional={"factor": st.sampled_from([1, 1.5, 2])}),
    infrastructure=durations,
    backoff=st.sampled_from(["250ms", 0, "5m"]),
    backoff_most=st.sampled_from(["5m", "1d"]),
)
mounts = st.lists(st.sampled_from(["/models", "/data/a b", "/é"]), unique=True, max_size=2).map(
    lambda paths: [{"source": "here", "path": path} for path in paths]
)
free = st.dictionaries(texts, st.recursive(texts | whole | st.booleans(), st.lists, max_leaves=3), max_size=2)
kubernetes = mapping(
    handlerImage=texts,
    imagePullSecrets=one_or_many(st.sampled_from(["a", "registry.acme"])),
    serviceAccount=st.just("jobs"),
    nodeSelector=st.dictionaries(st.sampled_from(["disk", "acme.org/gpu"]), texts, max_size=2),
    tolerations=st.lists(free, max_size=2),
    affinity=free,
    priorityClass=st.just("low"),
    volumes=st.lists(free, max_size=2),
    volumeMounts=st.lists(free, max_size=2),
    podTemplate=free,
)
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "on": one_or_many(subscriptions),
    "emits": one_or_many(types | st.fixed_dictionaries({"type": types})),
    "env": st.dictionaries(st.sampled_from(["A", "B_1", "a.b-c"]), texts | whole | st.booleans(), max_size=3),
    "secrets": st.dictionaries(st.sampled_from(["KEY", "K2"]), texts, max_size=2),
    "mounts": mounts,
    "network": st.booleans(),
    "resources": resources,
    "retries": retries,
    "no_retry_on": one_or_many(st.integers(1, 255)),
    "concurrency": whole,
    "timeout": durations,
    "start_timeout": durations,
    "grace": durations | st.just(0),
    "pause_after": whole,
    "log_limit": sizes,
    "provider": st.sampled_from(["local", "kubernetes", "azurebatch"]),
    "workdir": st.sampled_from([".", "a b", "/tmp"]),
    "kubernetes": kubernetes,
    "azurebatch": mapping(pool=st.sampled_from(["gpu", "a_B-1"]), handlerImage=texts, slots=st.integers(1, 256)),
}
commands = st.lists(texts, min_size=1, max_size=3) | st.sampled_from(["python run.py", "sh -c 'a b'", "x"])
specs = st.tuples(
    st.fixed_dictionaries({"command": commands})
    | st.fixed_dictionaries({"image": texts})
    | st.fixed_dictionaries(
        {"command": commands, "image": texts, "runtime": st.sampled_from(["process", "container"])}
    ),
    mapping(**COMMON),
).map(lambda parts: {**parts[0], **parts[1]})
settings = mapping(
    name=names | st.just(""),
    defaults=mapping(**COMMON),
    endpoint=st.sampled_from(["ion.acme:9000", "[::1]:1"]),
    bus=st.sampled_from(["sqlite", "memory", {"kind": "memory"}]),
    ledger=st.sampled_from(["sqlite", "memory"]),
    synchronous=st.sampled_from(["normal", "full"]),
    front=mapping(
        host=texts,
        port=st.integers(0, 65535),
        tokens=st.lists(texts, max_size=2),
        open=st.booleans(),
        max_body=sizes,
        max_files=whole,
        stall=durations,
    ),
    retention=mapping(results=durations, failed=durations, ids=durations),
    machine=mapping(
        cpu=st.sampled_from([1, "1500m"]), memory=sizes, gpus=st.integers(0, 4) | st.lists(texts, max_size=2)
    ),
    guards=mapping(max_hops=whole, max_jobs=whole),
    azurebatch=mapping(
        url=st.just("https://acme.westeurope.batch.azure.com"),
        account=texts,
        pool=st.sampled_from(["gpu", "a_B-1"]),
        instance=st.just("ion-2"),
        registry=one_or_many(st.fixed_dictionaries({"server": texts, "user": texts, "password": texts})),
        slack=durations,
        kept=durations,
        poll=durations,
    ),
    kubernetes=mapping(
        namespace=st.just("media"),
        context=texts,
        instance=st.just("ion-2"),
        handlerImage=texts,
        imagePullSecrets=st.lists(st.just("a"), max_size=1),
        hostNetwork=st.booleans(),
        podTemplate=free,
        slack=durations,
        pullDeadline=durations,
    ),
    mounts=st.dictionaries(texts, texts | st.fixed_dictionaries({"pvc": texts}), max_size=2),
    secrets=st.dictionaries(texts, st.fixed_dictionaries({"env": st.just("E")}), max_size=2),
    profiles=st.dictionaries(texts, st.sampled_from([{"guards": {"max_hops": 3}}, {"name": None}, None]), max_size=2),
)
documents = st.builds(
    lambda first, modules: {"ion": 1, **first, "modules": modules},
    settings,
    st.dictionaries(names, specs, min_size=1, max_size=3),
)
"""Pipelines without a mistake, in short and in full forms."""


def in_a_row(document: Any) -> str:
    """As JSON, which is YAML."""
    return json.dumps(document, ensure_ascii=False)


def in_lines(document: Any) -> str:
    return str(yaml.safe_dump(document, allow_unicode=True, sort_keys=False))


layouts = st.sampled_from([in_a_row, in_lines])


def expected(said: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Some attributes of a module as a person would read them from the file."""
    spec = {**defaults, **said}
    on, emits = (
        spec[key] if isinstance(spec.get(key), list) else [spec[key]] if key in spec else [] for key in ("on", "emits")
    )
    codes = spec.get("no_retry_on", [])
    return {
        "on": [one if isinstance(one, str) else one["type"] for one in on],
        "emits": list(dict.fromkeys(one if isinstance(one, str) else one["type"] for one in emits)),
        "timeout_s": SECONDS[spec.get("timeout", "2h30m")] if "timeout" in spec else 3600.0,
        "log_limit": BYTES[spec["log_limit"]] if "log_limit" in spec else 16 * 2**20,
        "no_retry_on": [codes] if isinstance(codes, int) else codes,
        "env": {name: plain(value) for name, value in {**defaults.get("env", {}), **said.get("env", {})}.items()},
        "image": spec.get("image", ""),
        "network": spec.get("network", True),
        "concurrency": spec.get("concurrency", 4),
    }


def plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def found(module: Module) -> dict[str, Any]:
    return {
        "on": [one.type for one in module.on],
        "emits": list(module.emits),
        "timeout_s": module.timeout_s,
        "log_limit": module.log_limit,
        "no_retry_on": list(module.no_retry_on),
        "env": module.env,
        "image": module.image,
        "network": module.network,
        "concurrency": module.concurrency,
    }


@examples(150)
@given(documents, layouts)
def test_a_good_pipeline_loads_as_it_is_meant_and_an_editor_agrees(folder: Path, document: Any, layout: Any) -> None:
    """Short and full forms, defaults, profiles and settings, on one line or on many: loaded, typed, and valid."""
    path = folder / "good.yaml"
    path.write_text(layout(document))
    pipeline = load_pipeline(path, environ={})
    assert [module.name for module in pipeline.modules] == list(document["modules"])
    for module in pipeline.modules:
        assert found(module) == expected(document["modules"][module.name], document.get("defaults", {}))
    assert valid(plain_value(read_document(path)), SCHEMA)


@examples(50)
@given(documents)
def test_the_layout_of_a_file_means_nothing(folder: Path, document: Any) -> None:
    """On one line or on many, the pipeline is the same."""
    loaded = []
    for layout in (in_a_row, in_lines):
        path = folder / "laid out.yaml"
        path.write_text(layout(document))
        loaded.append(load_pipeline(path, environ={}))
    assert loaded[0] == loaded[1]


# ---- anything else ----------------------------------------------------------------------------------------------

YAML_ODD = [
    *(b"&a ", b"*a", b"<<: *a\n", b"!!python/object:os.system ", b"!x ", b"? ", b"- ", b": ", b"---\n", b"...\n"),
    *(
        b"|\n ",
        b">-\n ",
        b"%YAML 9.9\n---\n",
        b"\t",
        b"\r",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
    ),
    *(b"${X}", b"${", b"${X:-", b"$$", b"${X:?no}", b"ion: 1\n", b"{" * 100, b"[" * 5_000),
    *(b"'", b'"', b'"\\ud800"', b'"\\x00"', b"\n" * 50, b"# ", b"a: &a [*a]\n"),
]
keys = st.sampled_from([*COMMON, "ion", "profiles", "modules", "defaults", "front", "<<", "type", "", "é"])


@st.composite
def mistaken(draw: st.DrawFn) -> bytes:
    """A good pipeline in which something else stands somewhere, as a person or a program may write it."""
    document = draw(documents)
    place = document
    for _ in range(draw(st.integers(0, 3))):
        below = [value for value in place.values() if isinstance(value, dict) and value]
        if not below:
            break
        place = draw(st.sampled_from(below))
    place[draw(keys | st.sampled_from(sorted(place)) if place else keys)] = draw(VALUES | st.just({}))
    text: str = draw(layouts)(document)
    return text.encode("utf-8", "surrogatepass")


LINE = re.compile(r"(?s)(/.+?):(\d+): (.+)")
BREAKS = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")


def loaded_or_refused(path: Path, content: bytes, **options: Any) -> Pipeline | None:
    """The pipeline; None if it was refused as a pipeline file has to be, in a sentence that begins with its place."""
    path.write_bytes(content)
    try:
        return load_pipeline(path, **{"environ": {}, **options})
    except PipelineError as error:
        refusal = one_sentence(error)
    said = LINE.fullmatch(refusal)
    assert said, refusal
    most = len(BREAKS.split(content.decode(errors="replace"))) + 1  # what is missing at the end is missed behind it
    assert (said[1], 1 <= int(said[2]) <= most) == (str(path), True), (refusal, most)
    return None


good = st.builds(lambda layout, document: layout(document).encode(), layouts, documents)
pieces = st.lists(st.sampled_from([*YAML_ODD, b"modules: ", b"{a: {command: x}}", b"a", b"\n", b"  "])).map(b"".join)


bytes_without_include = st.binary(max_size=40).filter(lambda raw: b"include" not in raw)


@examples(350)
@given(
    mistaken() | damaged(good, YAML_ODD) | pieces.map(b"ion: 1\n".__add__) | bytes_without_include,
    st.sampled_from(["", "", "p", "é"]),
    st.dictionaries(
        st.sampled_from(["X", "ION_PROFILE"]), st.sampled_from(["", "1", "a: b", "\udcff", "p"]), max_size=2
    ),
)
def test_any_text_is_a_pipeline_or_a_sentence_with_its_line(
    folder: Path, content: bytes, profile: str, environ: dict[str, str]
) -> None:
    """Whatever the file, the profile and the environment hold: typed modules, or one PipelineError that begins
    FILE:LINE, with a line that the file has.
    """
    loaded = loaded_or_refused(folder / "any.yaml", content, profile=profile, environ=environ)
    if loaded is not None:
        assert all(module.name and (module.command or module.image) for module in loaded.modules)


INCLUDES = {
    "missing": "none.yaml",
    "itself": "any.yaml",
    "a folder": ".",
    "binary": "binary.yaml",
    "a loop of links": "loop.yaml",
    "no text": "'\\x01'",
    "too long": "x" * 5_000,
    "a list": "[[none.yaml]]",
    "a mapping": "{a: none.yaml}",
}


@pytest.mark.parametrize(
    "written",
    [pytest.param(text, id=name) for name, text in INCLUDES.items()],
)
def test_an_include_that_cannot_be_is_told_with_its_line(tmp_path: Path, written: str) -> None:
    """Whatever it names, the sentence begins with the place where it is written, or with a place in what it names."""
    (tmp_path / "binary.yaml").write_bytes(b"\n\xff")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    path = tmp_path / "any.yaml"
    path.write_text(f"ion: 1\ninclude: {written}\nmodules: {{a: {{command: x}}}}\n")
    with pytest.raises(PipelineError) as caught:
        load_pipeline(path, environ={})
    said = LINE.fullmatch(one_sentence(caught.value))
    assert said, str(caught.value)
    assert (said[1], said[2]) == ((str(path), "2") if "binary" not in written else (f"{tmp_path}/binary.yaml", "2"))


LONG = "long" * 50_000
WRONG = {
    "value": f"modules: {{a: {{command: x, timeout: {LONG}}}}}",
    "choice": f"bus: {LONG}",
    "tag": f"name: !{LONG} x",
    "include": f"include: {LONG}",
    "message of a variable": f"name: ${{X:?{LONG}}}",
    "alias": f"name: *{LONG}",
    "variable": f"name: ${{{LONG}}}",
    "value of a filter": f"modules: {{a: {{command: x, on: {{type: t, filters: [{{exact: {{type: [{LONG}]}}}}]}}}}}}",
    "item of a filter": f"modules: {{a: {{command: x, on: {{type: t, filters: [{{not: {LONG}}}]}}}}}}",
    "path of a mount": f"modules: {{a: {{command: x, mounts: [{{source: m, path: /ion/{LONG}}}]}}}}",
}


@pytest.mark.parametrize(
    "line",
    [pytest.param(line, id=name) for name, line in WRONG.items()],
)
def test_a_refusal_does_not_repeat_a_file(tmp_path: Path, line: str) -> None:
    """However long the text is that is wrong, the sentence about it is short enough to be read."""
    assert loaded_or_refused(tmp_path / "any.yaml", f"ion: 1\n{line}\n".encode()) is None

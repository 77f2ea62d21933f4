"""Whatever module comes from outside, the checks answer with sentences, and what they accept can be kept and read."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.profile import examples, one_sentence

from ion.errors import InvalidError
from ion.management.checks import check_modules, normal, warnings
from ion.model.module import Module, Mount, Resources, Retries, Revision, Subscription, revise

FLOATS = st.floats() | st.sampled_from([0.0, 1.0, 3600.0])
WHOLE = st.integers(min_value=-(2**53), max_value=2**53)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ["photo", "ion.x", "detect", "local", "a/b:1"]
)
JSON = st.recursive(
    TEXTS | WHOLE | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=6
)
RETRIES = st.builds(Retries, module=WHOLE, timeout=WHOLE, memory=WHOLE, memory_factor=FLOATS, backoff_s=FLOATS)
MODULES = st.builds(
    Module,
    name=TEXTS,
    pipeline=TEXTS | st.just(""),
    on=st.lists(st.builds(Subscription, type=TEXTS, filters=st.lists(st.dictionaries(TEXTS, JSON)).map(tuple))).map(
        tuple
    ),
    emits=st.lists(TEXTS).map(tuple),
    image=TEXTS | st.text("abc/:.@-_ 'file", max_size=40),
    command=st.lists(TEXTS, max_size=3).map(tuple),
    provider=TEXTS | st.sampled_from(["local", "Kubernetes", "azurebatch"]),
    runtime=TEXTS | st.just(""),
    env=st.dictionaries(TEXTS, TEXTS),
    secrets=st.dictionaries(TEXTS, TEXTS),
    mounts=st.lists(st.builds(Mount, source=TEXTS, path=TEXTS)).map(tuple),
    resources=st.builds(Resources, cpu=FLOATS, memory=WHOLE, gpu=WHOLE),
    retries=st.just(Retries()) | RETRIES,
    no_retry_on=st.lists(WHOLE).map(tuple),
    concurrency=WHOLE,
    timeout_s=FLOATS,
    start_timeout_s=FLOATS,
    grace_s=FLOATS,
    kubernetes=st.dictionaries(TEXTS, JSON),
)


@examples(150)
@given(st.lists(MODULES, max_size=3), TEXTS | st.just(""))
def test_any_module_is_judged(modules: list[Module], pipeline: str) -> None:
    """It is accepted, or refused with one sentence of a line; never with an error of another kind."""
    wanted = [normal(module) for module in modules]
    try:
        check_modules(wanted, pipeline)
    except InvalidError as error:
        one_sentence(error)
        return
    for module in wanted:
        revision = revise(module)
        kept = msgspec.json.decode(msgspec.json.encode(revision), type=Revision)
        assert kept == revision
        assert revise(kept.module).id == revision.id
    assert isinstance(warnings(wanted, [module.name for module in wanted]), tuple)

"""Modules as the original's `create` describes them, and how configurations become revisions."""

import msgspec

from ion.management.created import created, deployed_name
from ion.model.module import Module, Resources, Retries, Subscription, revise


def test_the_original_s_defaults_hold() -> None:
    """Kubernetes, one instance, one retry, five minutes; lists of event types have commas between them."""
    made = created("detect", on="photo, clip,,photo", emits="face", image="acme/detect")
    assert made == Module(
        name="detect",
        on=(Subscription(type="photo"), Subscription(type="clip")),
        emits=("face",),
        image="acme/detect",
        provider="kubernetes",
        concurrency=1,
        retries=Retries(module=1, timeout=1),
        timeout_s=300.0,
    )


def test_the_image_of_the_handler_goes_where_it_is_used() -> None:
    """Pods and tasks have one of their own; a process of this host has not."""
    assert created("a", provider="Kubernetes", handler_image="h").kubernetes == {"handlerImage": "h"}
    assert created("a", provider="azurebatch", handler_image="h").azurebatch == {"handlerImage": "h"}
    local = created("a", provider="local", handler_image="h")
    assert (local.kubernetes, local.azurebatch) == ({}, {})


def test_a_default_that_is_said_is_the_same_configuration() -> None:
    """However a module came here, its revision's id and its deployed name are the same."""
    said = msgspec.json.decode(
        b'{"name":"detect","provider":"local","timeout_s":3600.0,"env":{},"retries":{"lost":20,"backoff_s":1.0},'
        b'"resources":{"cpu":0.0},"on":[{"type":"photo","filters":[]}]}',
        type=Module,
    )
    plain = Module(name="detect", on=(Subscription(type="photo"),))
    assert said == plain
    assert revise(said).id == revise(plain).id
    assert revise(msgspec.structs.replace(plain, resources=Resources(cpu=1))).id != revise(plain).id
    assert deployed_name(revise(plain)) == f"detect-{revise(plain).id[:8]}"

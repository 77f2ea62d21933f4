"""The pipeline of a schedule: a small tree of modules, with limits and budgets as the dice would have them."""

import random
from typing import Any

from ion.model.module import Module, Resources, Retries, Rule, Subscription

TOPICS = {"a": ("photo", ("face",)), "b": ("photo", ()), "c": ("face", ("leaf",)), "d": ("leaf", ())}
"""What each module hears and raises."""
REMOVABLE = "c"
FINAL_EXIT = 3
GPU_LIKELY = 0.5
ROUTED = ("a", "c")
ROUTED_LIKELY = 0.5
HERE, AWAY = "local", "kubernetes"


def modules(dice: random.Random) -> list[Module]:
    """The modules of one schedule."""
    return [_module(dice, name) for name in TOPICS]


def _module(dice: random.Random, name: str) -> Module:
    hears, raises = TOPICS[name]
    return Module(
        name=name,
        on=(Subscription(type=hears),),
        emits=raises,
        resources=Resources(gpu=1 if name == REMOVABLE and dice.random() < GPU_LIKELY else 0),
        retries=Retries(
            module=dice.randint(0, 2),
            timeout=dice.randint(0, 1),
            memory=dice.randint(0, 1),
            lost=dice.randint(0, 2),
            infrastructure_s=60.0,
            backoff_most_s=5.0,
        ),
        no_retry_on=(FINAL_EXIT,),
        concurrency=dice.randint(1, 3),
        timeout_s=60.0,
        start_timeout_s=20.0,
        grace_s=1.0,
        pause_after=dice.choice((1, 2, 20)),
        route=_rules(dice) if name in ROUTED and dice.random() < ROUTED_LIKELY else (),
    )


def _rules(dice: random.Random) -> tuple[Rule, ...]:
    """Some jobs to the cluster by what they are, some by how long they have waited, and some before the rest."""
    few, most = (ending(dice.sample("0123456789abcdef", number)) for number in (2, 12))
    rules = [
        Rule(filters=few, provider=AWAY, priority=dice.choice((0, 3))),
        Rule(waited_s=dice.choice((0.5, 5.0)), provider=dice.choice(("", AWAY)), priority=2),
        Rule(filters=most, priority=1),
    ]
    return tuple(dice.sample(rules, dice.randint(1, 3)))


def ending(digits: list[str]) -> tuple[dict[str, Any]]:
    """The filter for ids that end so."""
    return ({"any": [{"suffix": {"id": digit}} for digit in digits]},)

"""What a module is checked for before it is accepted from outside."""

from pathlib import Path

import pytest

from ion.config.load import load_pipeline
from ion.errors import InvalidError
from ion.management.checks import check_modules, faults, normal, warnings
from ion.model.module import Module, Mount, Resources, Retries, Rule, Subscription

EXAMPLES = Path(__file__).parents[2] / "examples"
NAN = float("nan")


def module(name: str = "detect", **fields: object) -> Module:
    on = fields.pop("on", ("photo",))
    assert isinstance(on, tuple)
    subscriptions = tuple(one if isinstance(one, Subscription) else Subscription(type=one) for one in on)
    return Module(name=name, on=subscriptions, **{"command": ("true",), **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "Detect"}, "its name cannot be one"),
        ({"name": "d" * 41}, "at most 40 characters"),
        ({"on": ("a photo",)}, "'a photo' cannot be an event type"),
        ({"on": ("",)}, "'' cannot be an event type"),
        ({"emits": ("a,b",)}, "'a,b' cannot be an event type"),
        ({"emits": ("ion.dead",)}, "it may not raise 'ion.dead'"),
        ({"on": (Subscription(type="photo", filters=({"exakt": {"id": "1"}},)),)}, "did you mean 'exact'?"),
        ({"provider": "kubernets", "image": "a"}, "did you mean 'kubernetes'?"),
        ({"runtime": "vm"}, "there is no runtime 'vm'"),
        ({"command": ()}, "neither an image nor a command"),
        ({"command": ("",)}, "its command is empty"),
        ({"command": ("a\0b",)}, "NUL character"),
        ({"provider": "kubernetes"}, "it has no image, and kubernetes needs one"),
        ({"runtime": "container"}, "it has no image, and a container needs one"),
        ({"command": (), "image": "a", "runtime": "process"}, "runtime process needs a command"),
        ({"image": "Acme/Detect"}, "'Acme/Detect' cannot be an image's name"),
        ({"image": "acme/detect:1:2"}, "cannot be an image's name"),
        ({"image": "acme/detect@sha256:12"}, "cannot be an image's name"),
        ({"image": "https://acme/detect"}, "cannot be an image's name"),
        ({"image": "a/" * 130 + "b"}, "cannot be an image's name"),
        ({"image": "file:/bin/true", "provider": "kubernetes"}, "is a file of one host"),
        ({"image": "file:", "command": ()}, "'file:' names no program"),
        ({"image": "a", "provider": "kubernetes", "kubernetes": {"handlerImage": "A"}}, "'A' cannot be an image's"),
        (
            {"image": "a", "provider": "kubernetes", "kubernetes": {"podTemplat": {}}},
            "its kubernetes settings have the unknown key 'podTemplat'; did you mean 'podTemplate'?",
        ),
        (
            {"image": "a", "provider": "kubernetes", "kubernetes": {"tolerations": "x"}},
            "its kubernetes settings cannot be used: Expected `array`",
        ),
        (
            {"route": (Rule(waited_s=1.0, provider="kubernets"),)},
            "rule 1 of its route: there is no provider 'kubernets'",
        ),
        (
            {"route": (Rule(waited_s=1.0, provider="kubernetes"),)},
            "rule 1 of its route sends jobs to kubernetes, which",
        ),
        ({"route": (Rule(priority=1),)}, "rule 1 of its route always holds"),
        ({"route": (Rule(size_least=2, size_most=1, priority=1),)}, "asks for a size that nothing has"),
        ({"route": (Rule(waited_s=NAN, priority=1),)}, "asks for a time that cannot be waited"),
        (
            {"route": (Rule(filters=({"exakt": {"id": "1"}},), priority=1),)},
            "a filter of rule 1 of its route cannot be",
        ),
        ({"route": (Rule(waited_s=1.0, priority=2_000_000),)}, "its priority 2000000 is out of bounds"),
        (
            {"image": "a", "route": (Rule(waited_s=1.0, provider="kubernetes"),), "kubernetes": {"podTemplat": {}}},
            "its kubernetes settings have the unknown key 'podTemplat'",
        ),
        ({"priority": -2_000_000}, "its priority -2000000 is out of bounds"),
        ({"env": {"A=B": "1"}}, "'A=B' cannot be a variable's name"),
        ({"env": {"A": "\0"}}, "the variable A holds a NUL"),
        ({"secrets": {"A": ""}}, "the variable A names no secret"),
        ({"env": {"A": "1"}, "secrets": {"A": "key"}}, "A stands in both env and secrets"),
        ({"mounts": (Mount(source="/a", path="/ion/in"),)}, "nothing can be mounted at '/ion/in'"),
        ({"mounts": (Mount(source="/a", path="/m"), Mount(source="/b", path="/m"))}, "2 mounts have the path /m"),
        ({"resources": Resources(cpu=-1.0)}, "resources.cpu must be from 0 to 4,096, not -1"),
        ({"resources": Resources(cpu=NAN)}, "resources.cpu must be"),
        ({"resources": Resources(gpu=2000)}, "resources.gpu must be from 0 to 1,024"),
        ({"retries": Retries(module=-1)}, "retries.module must be from 0"),
        ({"retries": Retries(memory_factor=0.5)}, "retries.memory_factor must be from 1"),
        ({"retries": Retries(backoff_s=400.0)}, "retries.backoff_s is longer"),
        ({"concurrency": 0}, "concurrency must be from 1"),
        ({"pause_after": 0}, "pause_after must be from 1"),
        ({"timeout_s": 0.0}, "timeout_s must be more than 0"),
        ({"timeout_s": NAN}, "timeout_s must be more than 0"),
        ({"start_timeout_s": float("inf")}, "start_timeout_s must be more than 0 seconds and at most ten years"),
        ({"grace_s": -1.0}, "grace_s must be from 0"),
        ({"no_retry_on": (0,)}, "an exit code in no_retry_on must be from 1 to 255"),
        ({"env": {"A": "x" * 70_000}}, "takes more than 64 KiB"),
    ],
)
def test_a_module_that_could_only_fail_is_refused(fields: dict[str, object], said: str) -> None:
    """The sentence names the module and the fault."""
    with pytest.raises(InvalidError) as refused:
        check_modules([module(**fields)], "")  # type: ignore[arg-type]
    assert str(refused.value).startswith(f"module {str(fields.get('name', 'detect'))[:40]}: ")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "image",
    [
        "detect",
        "acme/detect",
        "ghcr.io/acme/detect:1",
        "localhost:5000/a/b__c/d-e:v1.2_3",
        "EXAMPLE.com/detect:Latest",
        f"ghcr.io/acme/detect:1@sha256:{'0a' * 32}",
        f"detect@sha256:{'0' * 64}",
    ],
)
def test_images_are_named_as_registries_name_them(image: str) -> None:
    """With or without a registry, a port, a tag and a digest."""
    assert list(faults(module(image=image))) == []


def test_several_faults_are_counted() -> None:
    """The first of them is told, and how many more there are."""
    with pytest.raises(InvalidError, match=r"module a: concurrency must be .* \(and 2 more like this\)"):
        check_modules([module("a", concurrency=0, timeout_s=-1.0), module("b", emits=("ion.x",))], "")


def test_names_are_given_once_and_for_one_pipeline() -> None:
    """Two modules of one name, a module of another pipeline, or a pipeline's impossible name are refused."""
    with pytest.raises(InvalidError, match="the module detect is given 2 times"):
        check_modules([module(), module()], "")
    with pytest.raises(InvalidError, match="module detect names the pipeline 'media', not ''"):
        check_modules([module(pipeline="media")], "")
    with pytest.raises(InvalidError, match="the pipeline's name 'M_1' cannot be one"):
        check_modules([module(pipeline="M_1")], "M_1")


def test_a_file_of_the_host_is_a_command() -> None:
    """Given in an image's place it is what runs, with the local provider, before what else the command says."""
    given = module(image="file:'/opt/my detect' -v", command=("--fast",), provider="Local")
    kept = normal(given)
    assert (kept.image, kept.command, kept.provider) == ("", ("/opt/my detect", "-v", "--fast"), "local")
    assert list(faults(kept)) == []


def test_what_is_odd_is_a_warning() -> None:
    """A module that only hears what it raises itself, a cycle and a probable typing error are told, not refused."""
    alone, other = module("alone", on=("x",), emits=("x",)), module("other", on=("photo",))
    assert [one.split(":")[0] for one in warnings([alone, other], ["alone"])] == [
        "the module alone is never started",
        "events may go round for ever",
    ]
    assert warnings([alone, other], ["other"]) == ()
    emits, hears = module("emits", emits=("face_found",)), module("hears", on=("face_fond",))
    (said,) = warnings([emits, hears], ["emits", "hears"])
    assert "did you mean 'face_found'?" in said


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("ion.yaml")), ids=lambda file: file.parent.name)
def test_what_a_pipeline_file_has_is_accepted(file: Path) -> None:
    """The checks refuse no module of the examples."""
    pipeline = load_pipeline(file, environ={})
    check_modules(pipeline.modules, pipeline.name)

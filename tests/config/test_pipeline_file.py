"""Pipeline files as a whole: includes, profiles, defaults, precedence."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ion.config.load import load_pipeline
from ion.config.pipeline import Pipeline
from ion.config.settings import MountSource
from ion.errors import PipelineError
from ion.model.module import Module, Mount, Resources, Retries, Subscription

Load = Callable[..., Pipeline]
Refusal = Callable[..., str]

DESIGN = """\
    # yaml-language-server: $schema=.ion/schema.json
    ion: 1
    name: media
    include: [shared.yaml]
    defaults: {provider: local, retries: 1, timeout: 1h, concurrency: 4}
    modules:
      detect:
        image: ghcr.io/acme/detect:1
        command: [python, detect.py]
        on: [frame_extracted, {type: photo, filters: [{suffix: {subject: .jpg}}, {exact: {data.kind: photo}}]}]
        emits: [face_detected, no_face]
        env: {THRESHOLD: 0.7}
        secrets: {API_KEY: vision-key}
        mounts: [{source: models, path: /models}]
        network: true
        resources: {cpu: 2, memory: 4Gi, gpu: 1, disk: 20Gi, shm: 1Gi}
        retries: {module: 3, lost: 20, memory: {times: 2, factor: 2}}
        timeout: 2h
        grace: 30s
        kubernetes: {podTemplate: {}}
        azurebatch: {pool: gpu}
    profiles:
      laptop: {}
      cluster: {endpoint: "ion.acme:9000", defaults: {provider: kubernetes}, mounts: {models: {pvc: models}}}
    """
SHARED = "modules: {thumb: {command: 'convert a b', on: photo}}\n"
ONE = "ion: 1\nmodules:\n  a: {command: [x]}\n"


def test_a_full_pipeline_is_typed_and_complete(load: Load, tmp_path: Path) -> None:
    """Every key of a module arrives in its typed attribute, and what is not written has its default."""
    pipeline = load(DESIGN, shared=SHARED)
    thumb, detect = pipeline.modules
    assert (pipeline.name, pipeline.folder, pipeline.path) == ("media", tmp_path.resolve(), tmp_path / "ion.yaml")
    assert detect == Module(
        name="detect",
        pipeline="media",
        on=(
            Subscription(type="frame_extracted"),
            Subscription(type="photo", filters=({"suffix": {"subject": ".jpg"}}, {"exact": {"data.kind": "photo"}})),
        ),
        emits=("face_detected", "no_face"),
        image="ghcr.io/acme/detect:1",
        command=("python", "detect.py"),
        origin=str(tmp_path.resolve() / "ion.yaml"),
        folder=str(tmp_path.resolve()),
        env={"THRESHOLD": "0.7"},
        secrets={"API_KEY": "vision-key"},
        mounts=(Mount(source=str(tmp_path.resolve() / "models"), path="/models"),),
        resources=Resources(cpu=2.0, memory=4 * 2**30, gpu=1, disk=20 * 2**30, shm=2**30),
        retries=Retries(module=3, lost=20, memory=2, memory_factor=2.0),
        timeout_s=7200.0,
        kubernetes={"podTemplate": {}},
        azurebatch={"pool": "gpu"},
    )
    assert thumb.command == ("convert", "a", "b")


def test_a_profile_lies_over_the_file(load: Load) -> None:
    """A profile changes what it names, through defaults into every module, and leaves the rest."""
    pipeline = load(DESIGN, profile="cluster", shared=SHARED.replace("command: 'convert a b'", "image: i"))
    assert pipeline.profile == "cluster"
    assert {module.provider for module in pipeline.modules} == {"kubernetes"}
    assert pipeline.settings.endpoint == "ion.acme:9000"
    assert pipeline.settings.mounts == {"models": MountSource(pvc="models")}
    assert pipeline.modules[1].mounts == (Mount(source="pvc:models", path="/models"),)
    assert pipeline.modules[1].timeout_s == 7200.0


@pytest.mark.parametrize("nothing", ["", "null", "~"])
def test_null_in_a_profile_removes(load: Load, nothing: str) -> None:
    """As in RFC 7396, in whatever way YAML writes null."""
    modules = f"{{a: {nothing}, b: {{env: {{X: {nothing}}}}}}}"
    text = f"{ONE}  b: {{command: [y], env: {{X: '1', Y: '2'}}}}\nprofiles: {{p: {{modules: {modules}}}}}\n"
    (only,) = load(text, profile="p").modules
    assert (only.name, only.env) == ("b", {"Y": "2"})


def test_null_outside_of_a_profile_is_text_and_an_empty_value_is_nothing(load: Load) -> None:
    """Within a file the word null is a word, and an empty value is as if it was not written."""
    (module,) = load(
        "ion: 1\nmodules:\n  a:\n    command: [x]\n    timeout:\n    env:\n      X: null\n      Y:\n"
    ).modules
    assert module.env == {"X": "null"}
    assert module.timeout_s == 3600.0


def test_a_profile_comes_from_the_environment_unless_it_is_named(load: Load) -> None:
    """A named profile goes before ION_PROFILE."""
    text = ONE + "profiles: {p: {name: from-p}, q: {name: from-q}}\n"
    assert load(text, environ={"ION_PROFILE": "p"}).name == "from-p"
    assert load(text, profile="q", environ={"ION_PROFILE": "p"}).name == "from-q"


def test_the_endpoint_of_the_environment_goes_before_the_file(load: Load) -> None:
    """Environment, profile, file: in this order."""
    text = ONE + "endpoint: a:1\nprofiles: {p: {endpoint: 'b:2'}}\n"
    assert load(text).settings.endpoint == "a:1"
    assert load(text, profile="p").settings.endpoint == "b:2"
    assert load(text, profile="p", environ={"ION_ENDPOINT": "c:3"}).settings.endpoint == "c:3"


def test_an_unknown_profile_is_refused_with_the_nearest(refusal: Refusal) -> None:
    """The message names the profile that was probably meant, or those that there are."""
    text = ONE + "profiles: {cluster: {}, laptop: {}}\n"
    assert refusal(text, profile="clster") == "ion.yaml:4: there is no profile 'clster'; did you mean 'cluster'?"
    assert refusal(text, profile="x").endswith("there is no profile 'x'; known are: cluster, laptop")
    assert refusal(ONE, environ={"ION_PROFILE": "x"}).endswith("there is no profile 'x'; none is known")


def test_an_error_in_a_profile_names_the_line_of_the_profile(refusal: Refusal) -> None:
    """What a profile brought is told with the profile's line, what the file has with the file's."""
    text = ONE + "profiles:\n  p:\n    modules:\n      a:\n        timeout: soon\n"
    assert refusal(text, profile="p").startswith("ion.yaml:8: modules.a.timeout must be a duration")
    text = ONE + "profiles:\n  p:\n    modules:\n      a: {comand: [y]}\n"
    assert refusal(text, profile="p") == "ion.yaml:7: unknown key 'comand' in modules.a; did you mean 'command'?"


@pytest.mark.parametrize("key", ["ion: 1", "include: [x.yaml]", "profiles: {}"])
def test_a_profile_cannot_hold_what_belongs_to_the_file(refusal: Refusal, key: str) -> None:
    """Version, includes and profiles stand at the top of a file only."""
    assert "cannot stand in a profile" in refusal(f"{ONE}profiles: {{p: {{{key}}}}}\n", profile="p")


def test_defaults_lie_under_every_module(load: Load) -> None:
    """A module's own keys win; mappings are merged, lists replaced, an empty value takes the default away."""
    text = """\
        ion: 1
        defaults: {env: {A: a, B: b}, no_retry_on: [1, 2], timeout: 5m, image: base}
        modules:
          one: {env: {B: own}}
          two: {no_retry_on: [3], timeout: }
        """
    one, two = load(text).modules
    assert (one.env, one.no_retry_on, one.timeout_s, one.image) == ({"A": "a", "B": "own"}, (1, 2), 300.0, "base")
    assert (two.env, two.no_retry_on, two.timeout_s) == ({"A": "a", "B": "b"}, (3,), 3600.0)


def test_a_mistake_in_defaults_is_told_where_it_stands(refusal: Refusal) -> None:
    """Defaults are checked themselves, with their own line."""
    text = "ion: 1\ndefaults:\n  concurency: 3\nmodules: {a: {command: [x]}}\n"
    assert refusal(text) == "ion.yaml:3: unknown key 'concurency' in defaults; did you mean 'concurrency'?"


def test_an_including_file_wins_and_a_later_include_over_an_earlier(load: Load) -> None:
    """Modules of one name are merged key by key."""
    text = "ion: 1\ninclude: [one.yaml, two.yaml]\nmodules: {m: {env: {C: main}}}\n"
    one = "modules: {m: {command: [one], env: {A: one, B: one, C: one}}, n: {command: [n]}}\n"
    two = "name: two\nmodules: {m: {env: {B: two, C: two}}}\n"
    pipeline = load(text, one=one, two=two)
    m, n = pipeline.modules
    assert (pipeline.name, n.name, m.command) == ("two", "n", ("one",))
    assert m.env == {"A": "one", "B": "two", "C": "main"}


def test_paths_start_at_the_file_that_holds_them(load: Load, tmp_path: Path) -> None:
    """An included file in another folder names folders beside itself, and includes beside itself."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "part.yaml").write_text("include: more.yaml\nmodules: {a: {command: [x], workdir: w}}\n")
    (tmp_path / "sub" / "more.yaml").write_text("mounts: {m: data}\n")
    pipeline = load("ion: 1\ninclude: sub/part.yaml\nmodules: {a: {mounts: [{source: m, path: /m}]}}\n")
    folder = tmp_path.resolve()
    assert pipeline.modules[0].workdir == str(folder / "sub" / "w")
    assert pipeline.modules[0].mounts == (Mount(source=str(folder / "sub" / "data"), path="/m"),)
    assert pipeline.modules[0].folder == str(folder)


def test_an_error_in_an_included_file_names_that_file(refusal: Refusal) -> None:
    """The name and line are those of the included file."""
    message = refusal("ion: 1\ninclude: [part.yaml]\n", part="modules:\n  a:\n    nmae: x\n")
    assert message.startswith("part.yaml:3: unknown key 'nmae' in modules.a")


def test_includes_in_a_circle_are_refused(refusal: Refusal) -> None:
    """Directly or through others; including one file twice is none."""
    assert "leads back to this file" in refusal("ion: 1\ninclude: [ion.yaml]\n")
    message = refusal("ion: 1\ninclude: [a.yaml]\n", a="include: [b.yaml]\n", b="\ninclude: [ion.yaml]\n")
    assert message.startswith("b.yaml:2: the include 'ion.yaml' leads back to this file")


def test_a_file_may_be_included_twice(load: Load) -> None:
    """Two files may share a third."""
    text = "ion: 1\ninclude: [a.yaml, b.yaml]\n"
    assert load(text, a="include: c.yaml\n", b="include: c.yaml\n", c="modules: {m: {command: [x]}}\n").modules


def test_a_missing_include_is_told_where_it_is_named(refusal: Refusal) -> None:
    """The line is that of the include, not of the missing file."""
    message = refusal("ion: 1\n\ninclude: [nowhere.yaml]\n")
    assert message.startswith("ion.yaml:3: the include 'nowhere.yaml' cannot be read")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x\n", "ion.yaml:1: the file does not say its version; write `ion: 1` at its top"),
        ("# c\nion: 2\nnew: x\n", "ion.yaml:2: ion must be one of 1 (this Ion reads version 1), not '2'"),
        ("ion: 1\n", "ion.yaml:1: the pipeline has no modules; add one under 'modules'"),
        ("ion: 1\nmodules: {}\n", "ion.yaml:2: the pipeline has no modules"),
        ("ion: 1\nmodules: [a]\n", "ion.yaml:2: modules must be a mapping of names, not a list"),
        ("ion: 1\nmoduls: {}\n", "ion.yaml:2: unknown key 'moduls' in the pipeline file; did you mean 'modules'?"),
        (
            "ion: 1\nmodules:\n  Detect: {command: x}\n",
            "ion.yaml:3: 'Detect' in modules must be a name of small letters",
        ),
        (f"ion: 1\nmodules:\n  {'a' * 41}: {{command: x}}\n", f"ion.yaml:3: '{'a' * 41}' in modules must be a name"),
        ("ion: 1\nname: 1x\n", "ion.yaml:2: name must be a name of small letters"),
        ("ion: 1\nendpoint: here\n", "ion.yaml:2: endpoint must be HOST:PORT, not 'here'"),
    ],
)
def test_what_is_wrong_at_the_top_is_said_with_its_line(refusal: Refusal, text: str, expected: str) -> None:
    """Version, names and unknown keys of the top level are refused in one sentence."""
    assert refusal(text).startswith(expected)


def test_a_pipeline_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The path and the reason."""
    with pytest.raises(PipelineError, match="the file cannot be read"):
        load_pipeline(tmp_path / "ion.yaml", environ={})


def test_loading_the_loader_loads_no_yaml() -> None:
    """The YAML parser is imported when a file is read, not before."""
    code = "import sys, ion.config.load, ion.config.schema; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

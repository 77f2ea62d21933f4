"""Which root events the options of `ion run` ask for."""

from pathlib import Path
from typing import Any

import pytest

from ion.cli.roots import matching, require_heard, root_events
from ion.errors import InvalidError
from ion.management.events import RootEvent, RootFile
from ion.management.graph import Graph
from ion.model.module import Module, Subscription

NOTHING: dict[str, Any] = {"values": (), "files": (), "each": (), "each_set": (), "subject": ""}


def roots(event_type: str | None = "photo", /, **given: Any) -> list[RootEvent]:
    return list(root_events(event_type, **{**NOTHING, **given}))


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with pictures in folders; one of the folders is called like a picture."""
    for name in ("img/b.jpg", "img/a.jpg", "img/c.png", "img/old/a.jpg", "img/.hidden.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "img" / "z.jpg").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- root_events ------------------------------------------------------------------------------------------------


def test_no_type_and_no_option_asks_for_nothing() -> None:
    """Then open flows go on, and no event is raised."""
    assert roots(None) == []


@pytest.mark.parametrize(
    "given",
    [
        {"values": ("kind=cat",)},
        {"files": (Path("a.jpg"),)},
        {"each": ("*.jpg",)},
        {"each_set": ("n=1",)},
        {"subject": "a cat"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_an_option_without_a_type_is_refused(given: dict[str, Any]) -> None:
    """Options describe an event, so each alone is a mistake."""
    with pytest.raises(InvalidError, match="say which event to raise: --event TYPE"):
        roots(None, **given)


def test_a_type_alone_is_one_bare_event() -> None:
    """It has no data, no files and no subject."""
    assert roots() == [RootEvent(type="photo")]


def test_one_event_carries_all_that_is_given() -> None:
    """Key/values are split at the first equals sign; files keep their order and are called by their last part."""
    one, other = Path("some/where/a.jpg"), Path("/tmp/b.bin")
    assert roots(values=("kind=cat", "q=a=b", "empty="), files=(one, other), subject="a cat") == [
        RootEvent(
            type="photo",
            data={"kind": "cat", "q": "a=b", "empty": ""},
            files=(RootFile(name="a.jpg", file=one), RootFile(name="b.bin", file=other)),
            subject="a cat",
        )
    ]


@pytest.mark.parametrize("option", ["values", "each_set"])
@pytest.mark.parametrize("pair", ["kind", "=cat", ""])
def test_what_is_no_key_and_value_is_refused(option: str, pair: str) -> None:
    """Both for the shared values and for those of a series; the message shows what was given."""
    with pytest.raises(InvalidError, match=f"'{pair}' is no key and value: write KEY=VALUE"):
        roots(**{option: (pair,)})


def test_a_key_given_twice_is_refused() -> None:
    """Two shared values for one key contradict each other."""
    with pytest.raises(InvalidError, match="the key 'n' is given twice"):
        roots(values=("n=1", "n=2"))


def test_each_makes_one_event_for_each_file(pictures: Path) -> None:
    """In the order of the names, folders left out; the file is what its event is about."""
    found = roots(each=("img/*.jpg",), values=("kind=cat",))
    assert [(root.subject, root.data) for root in found] == [("a.jpg", {"kind": "cat"}), ("b.jpg", {"kind": "cat"})]
    assert [root.files for root in found] == [
        (RootFile(name=name, file=Path("img") / name),) for name in ("a.jpg", "b.jpg")
    ]


def test_an_event_of_a_series_is_about_its_own_file(pictures: Path) -> None:
    """A file that all bring comes first in each, and is not what they are about; a subject that is given is."""
    model = Path("model.bin")
    first, _ = roots(each=("img/*.jpg",), files=(model,))
    assert ([file.name for file in first.files], first.subject) == (["model.bin", "a.jpg"], "a.jpg")
    assert [root.subject for root in roots(each=("img/*.jpg",), subject="the album")] == ["the album"] * 2


def test_each_set_makes_one_event_for_each_value() -> None:
    """In the order given; a key may come several times, and lies over the shared one."""
    found = roots(each_set=("n=1", "n=2=3", "m=4"), values=("n=0", "kind=cat"))
    assert [root.data for root in found] == [
        {"n": "1", "kind": "cat"},
        {"n": "2=3", "kind": "cat"},
        {"n": "0", "kind": "cat", "m": "4"},
    ]


def test_globs_and_values_make_one_series(pictures: Path) -> None:
    """Glob by glob in the order given, then value by value; and no bare event beside them."""
    found = roots(each=("img/*.png", "img/a*"), each_set=("n=1",))
    assert [(root.subject, root.data) for root in found] == [("c.png", {}), ("a.jpg", {}), ("1", {"n": "1"})]


def test_a_file_that_two_globs_match_is_raised_once(pictures: Path) -> None:
    """There is one event for each file that matches, where it was first found."""
    assert [root.subject for root in roots(each=("img/b*", "img/*.jpg"))] == ["b.jpg", "a.jpg"]


def test_one_glob_without_a_match_refuses_the_series(pictures: Path) -> None:
    """Nothing is raised for the others: half a series is hardly meant."""
    with pytest.raises(InvalidError, match=r"--each 'img/\*\.gif' matches no file"):
        roots(each=("img/*.jpg", "img/*.gif"))


# ---- matching ---------------------------------------------------------------------------------------------------


def test_two_stars_go_into_folders(pictures: Path) -> None:
    """`**` matches any depth, hidden files left out as a shell does."""
    assert [str(path) for path in matching("**/*.jpg")] == ["img/a.jpg", "img/b.jpg", "img/old/a.jpg"]


def test_an_absolute_glob_matches(pictures: Path) -> None:
    """A pattern need not begin at the working folder."""
    assert matching(f"{pictures}/img/[bc].*") == [pictures / "img/b.jpg", pictures / "img/c.png"]


def test_a_name_without_wildcards_is_itself(pictures: Path) -> None:
    """So a single file is a series of one."""
    assert matching("img/c.png") == [Path("img/c.png")]


@pytest.mark.parametrize("pattern", ["img/z.jpg", "img/*/", "nowhere/*", ""])
def test_a_glob_that_finds_no_file_is_refused(pictures: Path, pattern: str) -> None:
    """Folders alone are no match either."""
    with pytest.raises(InvalidError, match="matches no file: quote the pattern, and mind the folder"):
        matching(pattern)


# ---- require_heard ----------------------------------------------------------------------------------------------

MODULES = (
    Module(name="detect", on=(Subscription(type="photo"),), emits=("face",), command=("true",)),
    Module(name="count", on=(Subscription(type="face"),), command=("true",)),
)


def heard(event_type: str, modules: tuple[Module, ...] = MODULES) -> None:
    """As `ion run` asks: with the type among the graph's roots."""
    require_heard(Graph.of(modules, [event_type]), event_type)


@pytest.mark.parametrize("event_type", ["photo", "face"])
def test_a_type_that_a_module_hears_passes(event_type: str) -> None:
    """Also one that a module raises: a run may begin in the middle of a pipeline."""
    heard(event_type)


def test_a_type_that_nobody_hears_is_refused_with_the_nearest() -> None:
    """The message has what was probably meant."""
    with pytest.raises(InvalidError, match="no module of the pipeline hears 'foto'; did you mean 'photo'"):
        heard("foto")


def test_a_type_like_no_other_is_refused_with_those_that_are_heard() -> None:
    """Only with types that would not be refused again."""
    with pytest.raises(InvalidError, match=r"no module of the pipeline hears 'zzz'; it hears photo, face$"):
        heard("zzz")


def test_a_pipeline_that_hears_nothing_says_so() -> None:
    """There is no type to offer then."""
    with pytest.raises(InvalidError, match="no module of the pipeline hears 'photo'; it hears nothing"):
        heard("photo", (Module(name="deaf", command=("true",)),))

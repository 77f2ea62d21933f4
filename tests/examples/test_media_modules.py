"""The modules of the media example, each run by hand as Ion runs it: a directory, an environment, an exit code."""

import functools
import http.server
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "media"
FINAL = 2
TIME_LIMIT_S = 300

pytestmark = pytest.mark.skipif(
    not os.environ.get("CI") and not (importlib.util.find_spec("cv2") and importlib.util.find_spec("imageio_ffmpeg")),
    reason="needs `pip install -r examples/media/requirements.txt`",
)


class Directory:
    """A module's directory, built by hand."""

    def __init__(self, path: Path, *, meta: Mapping[str, str] | None = None, files: tuple[Path, ...] = ()) -> None:
        self.path = path
        (path / "in" / "data").mkdir(parents=True)
        pairs = [{"key": key, "value": value} for key, value in (meta or {}).items()]
        (path / "in" / "eventmeta.json").write_text(json.dumps(pairs))
        for file in files:
            shutil.copyfile(file, path / "in" / "data" / file.name)
        self.exit_code = -1
        self.log = ""

    def run(self, module: str, **environment: str) -> "Directory":
        environ = {"PATH": os.environ["PATH"], "ION_DIR": str(self.path), **environment}
        ended = subprocess.run(
            [sys.executable, f"modules/{module}.py"],
            cwd=EXAMPLE,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )
        self.exit_code, self.log = ended.returncode, ended.stdout
        return self

    @property
    def outputs(self) -> list[Path]:
        return sorted(path for path in (self.path / "out" / "data").rglob("*") if path.is_file())

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((self.path / "out" / "events").glob("*.json"))]

    @property
    def insights(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path / "out" / "insights.json").read_text())
        return found


class Answers(http.server.SimpleHTTPRequestHandler):
    """Serves the clips, and misbehaves where it is asked to."""

    def do_GET(self) -> None:  # the name is http.server's
        misbehave = {"/short": self._short, "/busy": self._busy, "/away": self._away, "/endless": self._endless}
        if self.path.startswith("/named"):
            self._named()
        elif self.path in misbehave:
            misbehave[self.path]()
        else:
            super().do_GET()

    def _named(self) -> None:
        self.send_response(200)
        self.send_header("Content-Disposition", 'attachment; filename="../../.ssh/my clip.mp4"')
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"clip")

    def _short(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 400)

    def _busy(self) -> None:
        self.send_error(503)

    def _away(self) -> None:
        self.send_response(302)
        self.send_header("Location", "file:///etc/hostname")
        self.end_headers()

    def _endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * 5000)

    def log_message(self, *_: object) -> None:
        """The tests' output is theirs."""


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of the three clips; fetched once."""
    command = [sys.executable, str(EXAMPLE / "clips.py")]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=TIME_LIMIT_S, check=False)
    if ended.returncode != 0:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no clips: {ended.stderr}")
    return EXAMPLE / "clips"


@pytest.fixture(scope="session")
def server(clips: Path) -> Iterator[str]:
    handler = functools.partial(Answers, directory=str(clips))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as opened:
        thread = threading.Thread(target=opened.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{opened.server_port}"
        opened.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def bikes(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of the street clip."""
    return pictures(clips / "bikes.mp4", tmp_path_factory.mktemp("bikes"))


@pytest.fixture(scope="session")
def carphone(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of the man in the car."""
    return pictures(clips / "carphone_pristine.mp4", tmp_path_factory.mktemp("carphone"))


def pictures(clip: Path, folder: Path) -> list[Path]:
    done = Directory(folder / "ion", files=(clip,)).run("frames")
    assert done.exit_code == 0, done.log
    return done.outputs


def test_a_link_is_downloaded_whole(server: str, clips: Path, tmp_path: Path) -> None:
    """The file is kept under its name, and one event names it, with the clip as subject and data."""
    done = Directory(tmp_path / "ion", meta={"url": f"{server}/bikes.mp4"}).run("downloader")
    assert done.exit_code == 0, done.log
    (file,) = done.outputs
    assert file.read_bytes() == (clips / "bikes.mp4").read_bytes()
    assert done.events == [
        {"type": "file_downloaded", "subject": "bikes.mp4", "files": ["bikes.mp4"], "data": {"clip": "bikes.mp4"}}
    ]
    assert done.insights["bytes"] == file.stat().st_size


def test_files_that_came_with_the_event_are_forwarded_by_name(clips: Path, tmp_path: Path) -> None:
    """Nothing is copied: one event a file, which refers to the input."""
    files = (clips / "bikes.mp4", clips / "bigbuckbunny.mp4")
    done = Directory(tmp_path / "ion", files=files).run("downloader")
    assert done.exit_code == 0, done.log
    assert [event["inputs"] for event in done.events] == [["bigbuckbunny.mp4"], ["bikes.mp4"]]
    assert not done.outputs


def test_a_name_chosen_by_the_server_cannot_leave_the_folder(server: str, tmp_path: Path) -> None:
    """Folders, dots at the beginning and blanks are taken out of a Content-Disposition."""
    done = Directory(tmp_path / "ion", meta={"url": f"{server}/named"}).run("downloader")
    assert [path.relative_to(tmp_path / "ion" / "out" / "data") for path in done.outputs] == [Path("my_clip.mp4")]


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("missing.mp4", FINAL, "answered 404"),
        ("busy", 1, "answered 503"),
        ("short", 1, "ended after 400 of 1000 bytes"),
        ("endless", FINAL, "larger than 4000 bytes"),
        ("away", 1, "302"),
    ],
)
def test_a_download_that_fails_says_so(server: str, tmp_path: Path, path: str, code: int, said: str) -> None:
    """One sentence names the address and the fault; what trying again cannot help is final. No event is raised."""
    done = Directory(tmp_path / "ion", meta={"url": f"{server}/{path}"}).run("downloader", MAX_BYTES="4000")
    assert done.exit_code == code
    assert said in done.log
    assert "Traceback" not in done.log
    assert not done.events


def test_a_server_that_is_not_there_may_be_there_later(tmp_path: Path) -> None:
    """A refused connection is a failure that is tried again."""
    done = Directory(tmp_path / "ion", meta={"url": "http://127.0.0.1:9/x.mp4"}).run("downloader")
    assert (done.exit_code, "could not be downloaded" in done.log) == (1, True)


@pytest.mark.parametrize(
    "url", ["ftp://example.com/x", "x.mp4", "http://[::1/x", "http:///x", "http://a b/x", "file://["]
)
def test_an_address_of_another_kind_is_refused(tmp_path: Path, url: str) -> None:
    """Only http, https and file; what cannot be an address ends in a sentence too."""
    done = Directory(tmp_path / "ion", meta={"url": url}).run("downloader")
    assert done.exit_code in (1, FINAL)
    assert "Traceback" not in done.log


def test_an_event_with_nothing_is_refused(tmp_path: Path) -> None:
    """Neither a url nor a file: the sentence says what to send."""
    done = Directory(tmp_path / "ion").run("downloader")
    assert (done.exit_code, "neither a url nor a file" in done.log) == (FINAL, True)


def test_a_file_url_is_read_below_its_root_only(clips: Path, tmp_path: Path) -> None:
    """A file below FILE_ROOT is copied; a path, a link and a folder that lead out of it are not, nor without a root."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    shutil.copyfile(clips / "bikes.mp4", root / "sub" / "a b.mp4")
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path)
    (tmp_path / "root-else").mkdir()
    (tmp_path / "root-else" / "x").write_text("secret")

    def attempt(path: str, **environment: str) -> Directory:
        folder = tmp_path / f"ion{len(list(tmp_path.iterdir()))}"
        return Directory(folder, meta={"url": f"file://{path}"}).run("downloader", **environment)

    good = attempt(f"{root}/sub/a%20b.mp4", FILE_ROOT=str(root))
    assert [path.name for path in good.outputs] == ["a_b.mp4"]
    for path in ("link", "folder/secret", "../secret", "%2e%2e/secret", "../root-else/x"):
        bad = attempt(f"{root}/{path}", FILE_ROOT=str(root))
        assert (bad.exit_code, "outside FILE_ROOT" in bad.log, bad.outputs) == (FINAL, True, [])
    assert "file: URLs are off" in attempt(f"{root}/sub/a%20b.mp4").log
    assert "file: URLs are off" in attempt(f"{root}/sub/a%20b.mp4", FILE_ROOT="").log


def test_a_video_is_made_small_and_silent(clips: Path, tmp_path: Path) -> None:
    """720 lines with sound become 480 without, and the insights tell what came out."""
    clip = clips / "bigbuckbunny.mp4"
    done = Directory(tmp_path / "ion", meta={"clip": "bunny.mp4"}, files=(clip,)).run("transcode")
    assert done.exit_code == 0, done.log
    (file,) = done.outputs
    assert file.stat().st_size < clip.stat().st_size
    assert done.events == [{"type": "file_transcoded", "files": [file.name], "data": {"clip": "bunny.mp4"}}]
    found = done.insights
    assert (found["width"], found["height"], found["fps"]) == (854, 480, 25)
    assert found["duration_s"] == pytest.approx(5.3, abs=0.1)


def test_a_small_video_is_not_enlarged(clips: Path, tmp_path: Path) -> None:
    """144 lines stay 144."""
    done = Directory(tmp_path / "ion", files=(clips / "carphone_pristine.mp4",)).run("transcode")
    assert (done.insights["width"], done.insights["height"]) == (176, 144)
    assert done.events[0]["data"] == {"clip": "carphone_pristine.mp4"}


@pytest.mark.parametrize("module", ["transcode", "frames"])
@pytest.mark.parametrize("content", ["this is no video", "", "#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"])
def test_what_is_no_video_is_refused(tmp_path: Path, module: str, content: str) -> None:
    """Text, nothing, or a playlist that names another file: a sentence with the file's name, and no event."""
    fake = tmp_path / "fake.mp4"
    fake.write_text(content)
    done = Directory(tmp_path / "ion", files=(fake,)).run(module)
    assert done.exit_code in (1, FINAL)
    assert "fake.mp4" in done.log.splitlines()[-1]
    assert "Traceback" not in done.log
    assert not done.events


@pytest.mark.parametrize("module", ["transcode", "frames", "faces", "colours"])
def test_a_module_that_wants_one_file_says_so(tmp_path: Path, module: str) -> None:
    """An event without a file is refused in one sentence."""
    done = Directory(tmp_path / "ion").run(module)
    assert (done.exit_code, "expected one file" in done.log) == (FINAL, True)


def test_a_picture_is_taken_every_second_and_where_the_scene_changes(clips: Path, tmp_path: Path) -> None:
    """Ten seconds with a cut at 5.48 s: the cut is among the pictures, and no gap is longer than asked for."""
    done = Directory(tmp_path / "ion", meta={"clip": "bikes.mp4"}, files=(clips / "bikes.mp4",)).run(
        "frames", EVERY_S="1"
    )
    assert done.exit_code == 0, done.log
    times = [event["data"]["time_s"] for event in done.events]
    assert 5.48 in times
    assert all(0 < later - earlier <= 1.01 for earlier, later in pairwise(times))
    assert [event["subject"] for event in done.events] == [f"bikes.mp4#t={time:.2f}" for time in times]
    assert [name for event in done.events for name in event["files"]] == [path.name for path in done.outputs]
    assert done.insights["frames"] == len(times)


def test_a_clip_gives_no_more_pictures_than_allowed(clips: Path, tmp_path: Path) -> None:
    """MAX_FRAMES bounds the pictures and with them the events."""
    done = Directory(tmp_path / "ion", files=(clips / "bikes.mp4",)).run("frames", EVERY_S="0.1", MAX_FRAMES="3")
    assert (len(done.outputs), len(done.events), done.insights["frames"]) == (3, 3, 3)


@pytest.mark.parametrize("value", ["often", "0", "-1", "nan"])
def test_a_setting_that_is_no_number_is_refused(clips: Path, tmp_path: Path, value: str) -> None:
    """The sentence names the variable and what it was."""
    done = Directory(tmp_path / "ion", files=(clips / "bikes.mp4",)).run("frames", EVERY_S=value)
    assert (done.exit_code, f"EVERY_S is '{value}'" in done.log) == (FINAL, True)


def test_a_face_is_found_and_boxed(carphone: list[Path], tmp_path: Path) -> None:
    """The man's face is found once; the picture with the box is kept and goes on with the count."""
    meta = {"clip": "car.mp4", "time_s": "0.0", "unrelated": "x"}
    done = Directory(tmp_path / "ion", meta=meta, files=(carphone[0],)).run("faces")
    assert done.exit_code == 0, done.log
    (boxed,) = done.outputs
    assert boxed.read_bytes() != carphone[0].read_bytes()
    (event,) = done.events
    assert (event["type"], event["files"]) == ("face_detected", [boxed.name])
    assert event["data"] == {"clip": "car.mp4", "time_s": "0.0", "count": 1}
    (box,) = done.insights["boxes"]
    assert all(abs(side - near) < 15 for side, near in zip(box, (58, 34, 61, 61), strict=True))


def test_a_picture_without_a_face_goes_on_as_it_came(bikes: list[Path], tmp_path: Path) -> None:
    """Nothing is stored again: the event refers to the input."""
    done = Directory(tmp_path / "ion", meta={"clip": "bikes.mp4"}, files=(bikes[0],)).run("faces")
    assert not done.outputs
    assert done.events == [{"type": "no_face", "inputs": [bikes[0].name], "data": {"clip": "bikes.mp4"}}]
    assert done.insights["faces"] == 0


def test_a_street_is_grey_and_built(bikes: list[Path], tmp_path: Path) -> None:
    """A leaf of the tree: insights with label, colour and brightness, and no event."""
    done = Directory(tmp_path / "ion", files=(bikes[0],)).run("colours")
    assert done.exit_code == 0, done.log
    assert (done.insights["label"], done.insights["colour"]) == ("built", "grey")
    assert 100 < done.insights["brightness"] < 170
    assert not done.events


def test_a_meadow_is_green_nature(clips: Path, tmp_path: Path) -> None:
    """The cartoon's pictures are mostly green."""
    picture = pictures(clips / "bigbuckbunny.mp4", tmp_path / "frames")[0]
    done = Directory(tmp_path / "ion", files=(picture,)).run("colours")
    assert (done.insights["label"], done.insights["colour"]) == ("nature", "green")
    assert sum(done.insights["colours"].values()) <= 1.001


@pytest.mark.parametrize("module", ["faces", "colours"])
def test_what_is_no_picture_is_refused(tmp_path: Path, module: str) -> None:
    """A file that cannot be read as a picture is final, in one sentence."""
    fake = tmp_path / "fake.jpg"
    fake.write_text("no picture")
    done = Directory(tmp_path / "ion", files=(fake,)).run(module)
    assert (done.exit_code, "fake.jpg is no picture" in done.log) == (FINAL, True)


def test_the_modules_know_nothing_of_ion(tmp_path: Path) -> None:
    """They import nothing of it, and the original's variable names the directory as well."""
    for path in (EXAMPLE / "modules").glob("*.py"):
        source = path.read_text()
        assert "import ion" not in source
        assert "from ion" not in source
    folder = Directory(tmp_path / "ion")
    folder.run("downloader", ION_DIR="", HANDLER_BASE_DIR=str(tmp_path / "ion"))
    assert "neither a url nor a file" in folder.log

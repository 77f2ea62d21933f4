"""Takes pictures out of a video: `file_transcoded` → one `frame_extracted` a picture.

A picture is kept every EVERY_S seconds, and at once where the scene changes; at most MAX_FRAMES of a clip. Each event
says of what it is in its subject: `clip.mp4#t=1.50` (a media fragment, in seconds).
"""

import re
import subprocess
import time
from pathlib import Path

import imageio_ffmpeg
from directory import DATA_OUT, FINAL, fail, insights, meta, number, only_input, output, raise_event

EVERY_S = number("EVERY_S", 1)
MAX_FRAMES = int(number("MAX_FRAMES", 200))
SCENE = 0.3  # how different from the one before a picture must be, 0 to 1, to begin a new scene
CLOSEST_S = 0.2  # scenes that change faster than this are flicker

SELECT = (
    f"select='isnan(prev_selected_t)+gte(t-prev_selected_t,{EVERY_S})"
    f"+gt(scene,{SCENE})*gte(t-prev_selected_t,{CLOSEST_S})',metadata=mode=print:file=-"
)


def extract(video: Path, pattern: Path) -> list[float]:
    """Writes the pictures and gives the time of each, in seconds, as ffmpeg prints them."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "warning", "-threads", "1"]
    command += ["-i", f"file:{video}", "-vf", SELECT, "-fps_mode", "vfr", "-frames:v", str(MAX_FRAMES)]
    command += ["-q:v", "3", f"file:{pattern}"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode != 0:
        fail(f"no frames could be taken from {video.name} (ffmpeg ended with {ended.returncode}): is it a video?")
    return [float(found) for found in re.findall(r"pts_time:(\S+)", ended.stdout)]


def main() -> None:
    began = time.monotonic()
    video = only_input()
    clip = meta().get("clip") or video.name
    stem = video.stem.replace("%", "_")  # a % means something in ffmpeg's patterns
    times = extract(video, output(f"{stem}-%05d.jpg"))
    pictures = sorted(DATA_OUT.glob("*.jpg"))
    if not pictures:
        fail(f"{video.name} has no frames: is it a video?", FINAL)
    for picture, time_s in zip(pictures, times, strict=False):  # ffmpeg may name one more than it was let write
        subject = f"{clip}#t={time_s:.2f}"
        data = {"clip": clip, "time_s": time_s}
        raise_event("frame_extracted", name=picture.stem, subject=subject, files=[picture.name], data=data)
    insights(frames=len(pictures), seconds=round(time.monotonic() - began, 3))


if __name__ == "__main__":
    main()

"""Makes a video small and plain: `file_downloaded` → `file_transcoded`, at most 480 lines of H.264 without sound."""

import subprocess
import time
from pathlib import Path

import imageio_ffmpeg
from directory import fail, insights, meta, only_input, output, raise_event

FORMATS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf"  # no playlists: they name further files to be read
SCALE = "scale=-2:'trunc(min(480,ih)/2)*2'"  # H.264 wants even sides; never made larger


def transcode(video: Path, target: Path) -> None:
    """Runs ffmpeg on one thread, as several run at once; its own messages go to the log."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "warning", "-threads", "1"]
    command += ["-protocol_whitelist", "file", "-format_whitelist", FORMATS, "-i", f"file:{video}"]
    command += ["-map", "0:v:0", "-vf", SCALE, "-threads", "1", "-c:v", "libx264"]
    command += ["-preset", "veryfast", "-pix_fmt", "yuv420p", "-movflags", "+faststart", f"file:{target}"]
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        fail(f"{video.name} could not be transcoded (ffmpeg ended with {code}): is it a video?")


def main() -> None:
    began = time.monotonic()
    video = only_input()
    clip = meta().get("clip") or video.name
    target = output(f"{video.stem}.mp4")
    transcode(video, target)
    reader = imageio_ffmpeg.read_frames(target)
    facts = next(reader)  # the first thing it yields describes the video; no frame is decoded
    reader.close()
    width, height = facts["size"]
    raise_event("file_transcoded", files=[target.name], data={"clip": clip})
    seconds = round(time.monotonic() - began, 3)
    insights(duration_s=facts["duration"], fps=facts["fps"], width=width, height=height, seconds=seconds)


if __name__ == "__main__":
    main()

# Makes every video of the event small: 240 lines, no sound. Written the way of Python 2, which Python 3 runs as well.
#
# All it knows is the directory of 2018: files in in/data, files and events in out. FFMPEG names the program.
from __future__ import print_function

import io
import json
import os
import subprocess
import sys

BASE = os.environ.get("HANDLER_BASE_DIR", "/ion")
FFMPEG = os.environ.get("FFMPEG", "ffmpeg")


def ensure(path):
    if not os.path.isdir(path):
        os.makedirs(path)
    return path


def transcode(source, target):
    command = [FFMPEG, "-loglevel", "error", "-y", "-i", source, "-an", "-vf", "scale=-2:240", target]
    print("running %s" % " ".join(command))
    if subprocess.call(command) != 0:
        sys.exit("ffmpeg could not read %s" % os.path.basename(source))


def main():
    found = sorted(os.listdir(os.path.join(BASE, "in", "data")))
    data, events = (ensure(os.path.join(BASE, "out", name)) for name in ("data", "events"))
    for number, name in enumerate(found):
        small = "%s-small.mp4" % os.path.splitext(name)[0]
        transcode(os.path.join(BASE, "in", "data", name), os.path.join(data, small))
        event = [
            {"key": "eventType", "value": "file_transcoded"},
            {"key": "files", "value": small},
            {"key": "bytes", "value": str(os.path.getsize(os.path.join(data, small)))},
        ]
        with io.open(os.path.join(events, "event%d.json" % number), "wb") as file:
            file.write(json.dumps(event).encode("utf-8"))


main()

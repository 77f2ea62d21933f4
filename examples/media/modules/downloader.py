"""Brings a file here: `frontapi.new_link` with a `url`, or with files → one `file_downloaded` a file.

http and https are streamed to disk. file: is allowed only below FILE_ROOT, links followed, and not at all unless that
is set: a URL comes from outside, and must not choose what of this machine is read.
"""

import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from directory import DATA_IN, FINAL, fail, inputs, insights, meta, number, output, raise_event

CHUNK = 1024 * 1024
MAX_BYTES = int(number("MAX_BYTES", 2 * 1024**3))
SILENCE_S = number("SILENCE_S", 30)  # a server may be quiet for so long; the whole time is the pipeline's `timeout`


def safe_name(name: str) -> str:
    """A plain file name made of a foreign one: no folders, no hidden files, nothing a shell or a browser minds."""
    last = re.sub(r"[^\w.-]+", "_", re.split(r"[/\\]", name)[-1]).lstrip(".")
    return last[-100:].lstrip(".") or "download"


def copy(source: IO[bytes], target: Path, url: str) -> int:
    """Streams a body to disk and gives its length in bytes."""
    size = 0
    with target.open("xb") as file:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > MAX_BYTES:
                fail(f"{url} is larger than {MAX_BYTES} bytes: raise MAX_BYTES to allow it", FINAL)
            file.write(chunk)
    return size


def download(url: str) -> str:
    """Fetches an http(s) URL into out/data and gives the file's name."""
    opener = urllib.request.OpenerDirector()  # only these: a redirect must not lead to file: or ftp:
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    request = urllib.request.Request(url, headers={"User-Agent": "ion-media-example"})
    with opener.open(request, timeout=SILENCE_S) as response:
        name = safe_name(response.headers.get_filename() or unquote(urlsplit(url).path))
        size = copy(response, output(name), url)
        expected = response.headers.get("Content-Length")
        if expected is not None and size != int(expected):
            fail(f"{url} ended after {size} of {expected} bytes: the download was cut off")
    return name


def fetch(url: str) -> str:
    """Like `download`, with every way to fail told in one sentence."""
    try:
        return download(url)
    except urllib.error.HTTPError as error:
        # A 4xx stays one, except "too slow" and "too often".
        final = 400 <= error.code < 500 and error.code not in (408, 429)
        fail(f"{url} answered {error.code} {error.reason}: check the address", FINAL if final else 1)
    except (OSError, http.client.HTTPException) as error:
        fail(f"{url} could not be downloaded ({error or type(error).__name__}): check the address and the network")
    except ValueError as error:
        fail(f"{url} is no usable address ({error}): give a full http(s) URL", FINAL)


def local(url: str) -> str:
    """Copies a file: URL into out/data, if it really lies below FILE_ROOT."""
    if not os.environ.get("FILE_ROOT"):
        fail(f"{url} is refused: file: URLs are off unless FILE_ROOT names the folder they may read", FINAL)
    host, slash, rest = url.partition(":")[2].removeprefix("//").partition("/")
    if not slash or host not in ("", "localhost"):
        fail(f"{url} names another host: use file:///path", FINAL)
    root = Path(os.environ["FILE_ROOT"]).resolve()
    path = Path(f"/{unquote(rest)}").resolve()  # where all links lead, which is what would be read
    if not path.is_relative_to(root):
        fail(f"{url} is refused: it leads outside FILE_ROOT ({root})", FINAL)
    if not path.is_file():
        fail(f"{url} is not a file: check the path", FINAL)
    if path.stat().st_size > MAX_BYTES:
        fail(f"{url} is larger than {MAX_BYTES} bytes: raise MAX_BYTES to allow it", FINAL)
    name = safe_name(path.name)
    shutil.copyfile(path, output(name))
    return name


def main() -> None:
    began = time.monotonic()
    url = meta().get("url", "").strip()
    if url:
        scheme = url.partition(":")[0].lower()
        if scheme not in ("http", "https", "file"):
            fail(f"{url!r} is neither http, https nor file: give a full URL", FINAL)
        name = local(url) if scheme == "file" else fetch(url)
        raise_event("file_downloaded", subject=name, files=[name], data={"clip": name})
        insights(bytes=output(name).stat().st_size, seconds=round(time.monotonic() - began, 3))
        return
    files = [str(path.relative_to(DATA_IN)) for path in inputs()]
    if not files:
        fail("the event has neither a url nor a file: send --set url=... or --file ...", FINAL)
    for position, name in enumerate(files, start=1):
        clip = safe_name(name)
        raise_event("file_downloaded", name=f"{position:04}", subject=clip, inputs=[name], data={"clip": clip})
    insights(forwarded=len(files))


if __name__ == "__main__":
    main()

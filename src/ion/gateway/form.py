"""Multipart forms, streamed: each file part goes to the spool as it arrives, each other part is a key/value.

Whatever arrives is bounded before it is kept, and nothing is guessed: a form that ends early, a field given twice or a
name that is not UTF-8 is refused.
"""

from collections.abc import AsyncIterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec
from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException

from ion.config.settings import Front
from ion.errors import InvalidError
from ion.gateway.guard import too_large
from ion.management.root_files import RootFile, check_name
from ion.management.spool import batches, full, in_thread

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD_COST = 64
"""A field counts so many bytes beside its text, so that a million empty ones are too many."""


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What a form held: the key/values, and the files, which lie in the spool."""

    fields: dict[str, str]
    files: tuple[RootFile, ...]


async def read_form(content_type: str, body: AsyncIterable[bytes], folder: Path, settings: Front) -> Form:
    """Reads a form, its files into `folder`.

    Raises:
        InvalidError: it is malformed. HTTPException: 413, more than the settings allow.
        UnavailableError: the disk is full.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise InvalidError("the form has no boundary: send Content-Type `multipart/form-data; boundary=...`")
    parts = _Parts(folder, settings)
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        async for batch in batches(body):
            await in_thread(parser.write, batch)
        parser.finalize()
    except MultipartParseError as error:
        raise InvalidError(f"the form is malformed: {error}") from error
    except OSError as error:
        raise full(folder, error) from error
    finally:
        parts.close()
    return parts.form()


class _Parts:
    """Collects parts as the parser tells of them."""

    def __init__(self, folder: Path, settings: Front) -> None:
        self._folder, self._settings = folder, settings
        self._fields: dict[str, str] = {}
        self._files: list[RootFile] = []
        self._header, self._content, self._disposition = bytearray(), bytearray(), b""
        self._name, self._file_name = "", ""
        self._target: BinaryIO | None = None
        self._taken, self._whole = 0, False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._start,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def form(self) -> Form:
        if not self._whole:
            raise InvalidError("the form ends before its last boundary: send it again")
        return Form(fields=self._fields, files=tuple(self._files))

    def close(self) -> None:
        if self._target is not None:
            self._target.close()
            self._target = None

    def _begin(self) -> None:
        self._disposition = b""
        self._header.clear()
        self._content.clear()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._content)
        self._header.clear()
        self._content.clear()

    def _start(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if b"name" not in options:
            raise InvalidError("a part of the form has no name: give each `Content-Disposition: form-data; name=...`")
        self._name = _decoded("the name of a field", options[b"name"])
        self._file_name = _decoded("the name of a file", options.get(b"filename", b""))
        if b"filename" in options:
            self._open()
        else:
            self._take(len(options[b"name"]) + FIELD_COST)

    def _open(self) -> None:
        if len(self._files) >= self._settings.max_files:
            raise HTTPException(413, f"more than {self._settings.max_files} files: raise several events instead")
        if self._file_name:
            check_name(self._file_name)
        self._target = (self._folder / str(len(self._files))).open("wb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._target is not None:
            self._target.write(memoryview(data)[start:end])
        else:
            self._take(end - start)
            self._content += data[start:end]

    def _take(self, size: int) -> None:
        self._taken += size
        if self._taken > self._settings.max_json:
            raise too_large("the text of the form's fields", self._settings.max_json)

    def _end(self) -> None:
        if self._target is None:
            self._add_field(_decoded(f"the field '{self._name}'", bytes(self._content)))
        else:
            self._add_file(self._target)

    def _add_field(self, value: str) -> None:
        if self._name in self._fields:
            raise InvalidError(f"the field '{self._name}' is given twice: each key has one value")
        self._fields[self._name] = value

    def _add_file(self, target: BinaryIO) -> None:
        size = target.tell()
        self.close()
        if self._file_name:
            file = self._folder / str(len(self._files))
            self._files.append(RootFile(name=self._file_name, file=file, temporary=True))
        elif size:  # a browser sends an empty part, without a name, for a file that was not chosen
            raise InvalidError(f"the file of the field '{self._name}' has no name: give it one with `filename=`")

    def _finish(self) -> None:
        self._whole = True


def _decoded(what: str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidError(f"{what} is not UTF-8: send the form in UTF-8") from error

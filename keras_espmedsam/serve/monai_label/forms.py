"""The form in the body of a request, read from a file into a folder, within limits."""

import dataclasses
import json
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError

_MOST_PARTS = 20
_FIELD_BYTES = 1_000_000
_HEADER_BYTES = 10_000
_CHUNK = 1 << 20


@dataclasses.dataclass
class Form:
    """The fields and the files of a form.

    Args:
        fields: dict of name to text.
        files: dict of name to a file. The name that the client gave it is not kept.
    """

    fields: dict[str, str] = dataclasses.field(default_factory=dict)
    files: dict[str, Path] = dataclasses.field(default_factory=dict)

    def json(self, name: str) -> dict[str, Any]:
        """Return the JSON object in a field; an empty one without the field.

        Raises:
            InputError: when the field holds something else.

        Example:
            >>> Form({"params": '{"modality": "xray"}'}).json("params")
            {'modality': 'xray'}
        """
        return parse_json_object(self.fields.get(name) or "{}", f"the field {name}")


def parse_json_object(text: str | bytes, what: str) -> dict[str, Any]:
    """Return a JSON object.

    Args:
        text: the JSON.
        what: what holds it, for messages.

    Raises:
        InputError: when it is no JSON object.

    Example:
        >>> parse_json_object("[1]", "the field params")
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: Received '[1]' in the field params; expected a JSON object, such as {"modality": "xray"}.
    """  # noqa: E501
    try:
        content = json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(
            f"Received {shown_value(_text(text))} in {what}; expected a JSON object, such as "
            '{"modality": "xray"}.'
        )
    return content


def _no_json(name):
    """Refuse NaN and Infinity, which Python reads and nobody else does."""
    raise ValueError(name)


def read_form(path: Path, content_type: str, folder: Path) -> Form:
    """Read a form; its files are written to a folder.

    Args:
        path: the body of the request.
        content_type: its type, `multipart/form-data` or `application/x-www-form-urlencoded`.
        folder: an existing folder.

    Returns:
        The form; an empty one for an empty body.

    Raises:
        InputError: for another type, a damaged body, or too many or too large fields.

    Example:
        >>> import tempfile
        >>> body = Path(tempfile.mkdtemp()) / "body"
        >>> _ = body.write_text("tag=final")
        >>> read_form(body, "application/x-www-form-urlencoded", body.parent).fields
        {'tag': 'final'}

    Source: RFC 7578.
    """
    if not path.stat().st_size:
        return Form()
    kind, options = parse_options_header(content_type)
    if kind == b"application/x-www-form-urlencoded":
        return Form(fields=_urlencoded(path))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise InputError(
            f"Received a body of the type {shown_value(content_type)}; expected a form "
            "(multipart/form-data), as with: curl -F file=@FILE"
        )
    reader = _Reader(folder)
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        with path.open("rb") as body:
            while chunk := body.read(_CHUNK):
                parser.write(chunk)
        parser.finalize()
    except FormParserError:
        raise _damaged() from None
    finally:
        reader.close()
    if not reader.complete:  # The parser does not miss the end.
        raise _damaged()
    return reader.form


def _urlencoded(path):
    if path.stat().st_size > _FIELD_BYTES:
        raise _too_large()
    try:
        text = path.read_text(encoding="utf-8")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_PARTS))
    except ValueError:  # Not UTF-8, or more fields.
        raise InputError(
            f"Received a form that is no text, or has more than {_MOST_PARTS} fields; send it as "
            "multipart/form-data."
        ) from None


class _Reader:
    """Collects what the parser finds."""

    def __init__(self, folder: Path):
        self.form = Form()
        self.complete = False
        self._folder = folder
        self._parts = 0
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = b"", b""
        self._name = ""
        self._text = bytearray()
        self._file: BinaryIO | None = None

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._complete,
        }

    def _complete(self):
        self.complete = True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _begin(self):
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise InputError(
                f"Received a form of more than {_MOST_PARTS} parts; send one image and its "
                "parameters."
            )
        self._headers = {}

    def _header_field(self, data, start, end):
        self._field += data[start:end]
        self._check_header(self._field)

    def _header_value(self, data, start, end):
        self._value += data[start:end]
        self._check_header(self._value)

    def _check_header(self, text):
        if len(text) > _HEADER_BYTES:
            raise _too_large()

    def _header_end(self):
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def _headers_finished(self):
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = _text(options.get(b"name", b""))
        self._text = bytearray()
        if b"filename" in options:
            path = self._folder / f"part-{self._parts}"
            self._file = path.open("wb")
            self.form.files[self._name] = path

    def _data(self, data, start, end):
        if self._file is not None:
            self._file.write(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _FIELD_BYTES:
            raise _too_large()

    def _end(self):
        if self._file is not None:
            self._file.close()
            self._file = None
        else:
            self.form.fields[self._name] = _text(self._text)


def _damaged():
    return InputError("The form in the body of the request is damaged or cut short; send it again.")


def _too_large():
    return InputError(
        f"Received a field of more than {_FIELD_BYTES:,} bytes in a form; send images and labels "
        "as files."
    )


def _text(data: str | bytes | bytearray) -> str:
    return data if isinstance(data, str) else bytes(data).decode("utf-8", "replace")

"""JSON values and uploads to rows of a task. Images and sounds come as base64, as a data: URI or as a file; never as a URL or a path."""

import base64
import binascii
import io
import re
from collections.abc import Sequence
from typing import Any

import PIL.Image

from penjing.core.contracts import Example, Task
from penjing.core.errors import DataError, OptionError, nearest
from penjing.core.image import Image
from penjing.core.kinds import MEDIA
from penjing.core.media import Media
from penjing.core.sound import Sound
from penjing.engine.load import goes_on
from penjing.serve import Options
from penjing.serve.errors import Refused

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # Pillow reads some others by starting programs
_KINDS: dict[type, str] = {
    bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object", type(None): "null",
}  # fmt: skip
_DATA_URI = re.compile(r"data:[\w.+/-]*(?:;[\w=.+-]*)*;base64,", re.ASCII)


def rows_of(inputs: Any, task: Task, options: Options) -> list[Example]:
    """The rows that a request asks about, each of the task's input columns.

    inputs   a list of rows: strings, objects of columns, or bytes of uploaded files

    Raises Refused with 422 for what is no such list.
    """
    if not isinstance(inputs, list):
        raise _refused("inputs", inputs, f"a list of rows, each {wanted_of(task)}")
    if not inputs:
        raise Refused(422, "inputs is empty", "bad_input", wanted="at least one row")
    if len(inputs) > options.most_rows:
        raise Refused(413, f"inputs has {len(inputs):,} rows", "too_many_rows", wanted=f"at most {options.most_rows:,} rows a request")
    return [row_of(value, f"inputs[{i}]", task, options) for i, value in enumerate(inputs)]


def row_of(value: Any, place: str, task: Task, options: Options) -> Example:
    """One row, as `penjing predict` would read it from a file or from the command line."""
    columns = task.input_columns()
    if task.media != "text":
        (name,) = columns
        if isinstance(value, dict):
            _require_known(value, columns, place)
            value, place = value.get(name), f"{place}.{name}"
        return {name: media_of(value, place, columns[name], options)}
    if isinstance(value, str):
        try:
            return task.row_of(text_of(value, place, options))
        except OptionError as error:  # where a row has several columns
            raise _refused(place, value, wanted_of(task)) from error
    if not isinstance(value, dict):
        raise _refused(place, value, wanted_of(task))
    if "tokens" in columns and "tokens" not in value and "text" in value:
        _require_known(value, ["text"], place)
        return task.row_of(text_of(value["text"], f"{place}.text", options))
    if goes_on(task):
        if "messages" in value:
            _require_known(value, ["messages"], place)
            return {"messages": messages_of(value["messages"], f"{place}.messages", options)}
        columns = {"prompt": str} if "prompt" in value else columns
    _require_known(value, columns, place)
    row: Example = {}
    for name, kind in columns.items():
        if name not in value:
            raise Refused(422, f"{place} has no {name}", "bad_input", wanted=wanted_of(task))
        within = f"{place}.{name}"
        row[name] = words_of(value[name], within, options) if kind is list else text_of(value[name], within, options)
    return task.asked(row)


def text_of(value: Any, place: str, options: Options) -> str:
    """A text with something in it, that can be written in UTF-8."""
    if not isinstance(value, str):
        raise _refused(place, value, "a text")
    if len(value) > options.most_characters:
        raise Refused(
            413, f"{place} has {len(value):,} characters", "too_long", wanted=f"at most {options.most_characters:,} characters a text"
        )
    if not value or value.isspace():
        raise Refused(422, f"{place} is blank", "bad_input", wanted="a text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Refused(422, f"{place}: character {error.start} is half of a pair", "bad_input", wanted="text in Unicode") from None
    return value


def words_of(value: Any, place: str, options: Options) -> list[str]:
    """The words of a text, none of them empty."""
    if not isinstance(value, list) or not value:
        raise _refused(place, value, "a list of words")
    words = [text_of(word, f"{place}[{i}]", options) for i, word in enumerate(value)]
    text_of(" ".join(words), place, options)
    return words


def messages_of(value: Any, place: str, options: Options) -> list[dict[str, str]]:
    """A chat: [{"role", "content"}, ...]."""
    wanted = 'a list of messages: [{"role": "user", "content": "..."}]'
    if not isinstance(value, list) or not value:
        raise _refused(place, value, wanted)
    for i, message in enumerate(value):
        if not isinstance(message, dict) or "role" not in message:
            raise _refused(f"{place}[{i}]", message, wanted)
    return [
        {name: text_of(message.get(name), f"{place}[{i}].{name}", options) for name in ("role", "content")}
        for i, message in enumerate(value)
    ]


def media_of(value: Any, place: str, kind: type, options: Options) -> Media:
    """An image or a sound from base64, a data: URI or bytes, looked at but not decoded yet.

    Raises Refused for what is no such thing, or too large.
    """
    media: type[Media] = next(each for each in MEDIA if each is kind)
    content = value if isinstance(value, bytes) else _decoded(value, place, media)
    found = media(content, place)
    try:
        if isinstance(found, Image):
            _require_size(found, content, options)
        elif isinstance(found, Sound) and (seconds := found.heading()[1]) > options.most_seconds:
            raise Refused(413, f"{place}: the sound lasts {seconds:,.1f} s", "too_long", wanted=f"at most {options.most_seconds:,.0f} s")
    except DataError as error:
        raise Refused(422, error.problem, "bad_input", wanted=error.wanted) from None
    return found


def _require_size(image: Image, content: bytes, options: Options) -> None:
    """By the heading, before anything is decoded; raises DataError for what is no image."""
    wanted = f"at most {options.most_pixels:,} pixels an image"
    try:
        with PIL.Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            width, height = opened.size
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:  # what Pillow itself finds too many
        raise Refused(413, f"{image.place}: {error}", "too_large", wanted=wanted) from None
    except Exception as error:  # Pillow's plug-ins raise whatever their parsers raise
        raise image.damaged(content, "no image", f"a complete image: {', '.join(FORMATS)}") from error
    if width * height > options.most_pixels:
        raise Refused(413, f"{image.place}: {width:,} x {height:,} pixels", "too_large", wanted=wanted)


def _decoded(value: Any, place: str, media: type[Media]) -> bytes:
    wanted = f"{media.article} {media.noun} in base64 or as a data: URI, or uploaded as multipart/form-data; URLs are not fetched"
    if not isinstance(value, str):
        raise _refused(place, value, wanted)
    start = _DATA_URI.match(value)
    try:
        content = base64.b64decode(value[start.end() :] if start else value, validate=True)
    except (binascii.Error, ValueError):
        raise _refused(place, value, wanted) from None
    if not content:
        raise Refused(422, f"{place} is empty", "bad_input", wanted=wanted)
    return content


def wanted_of(task: Task) -> str:
    """What a row of a task is, in words."""
    columns = task.input_columns()
    if task.media != "text":
        (kind,) = columns.values()
        (media,) = (each for each in MEDIA if each is kind)
        return f"{media.article} {media.noun} in base64 or as a data: URI"
    if "tokens" in columns:
        return 'a text, or {"tokens": ["a", "list", "of", "words"]}'
    shown = "{" + ", ".join(f'"{name}": "..."' for name in columns) + "}"
    return f"a text, or {shown}" if len(columns) == 1 else shown


def _require_known(value: dict[str, Any], columns: Sequence[str] | dict[str, Any], place: str) -> None:
    for name in value:
        if name not in columns:
            raise Refused(
                422, f"{place} has {str(name)[:60]!r}, which this model does not read", "bad_input", wanted=nearest(name, columns)
            )


def _refused(place: str, value: Any, wanted: str) -> Refused:
    shown = f" {value[:40]!r}" if isinstance(value, str) else ""
    return Refused(422, f"{place} is {_KINDS.get(type(value), 'something else')}{shown}", "bad_input", wanted=wanted)

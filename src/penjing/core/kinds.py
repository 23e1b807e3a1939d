"""What a column must hold: which Arrow types will do, which values will not, and how a value becomes what was asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import pyarrow
import pyarrow.compute as compute
from pyarrow import types

from penjing.core.image import Image
from penjing.core.media import Media
from penjing.core.sound import Sound

MEDIA: tuple[type[Media], ...] = (Image, Sound)
_WHOLE = r"^\s*[-+]?\d+\s*$"
_LARGEST = float(numpy.finfo(numpy.float32).max)
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


@dataclass(frozen=True)
class Kind:
    """One type that `Examples.require` may be asked for.

    words     what an error calls it
    fits      whether a column of this Arrow type can hold it at all
    bad       which values of a batch cannot be used: (rows,) Arrow booleans; nulls are found elsewhere
    convert   a stored value -> the value asked for
    """

    words: str
    fits: Callable[[pyarrow.DataType], bool]
    bad: Callable[[pyarrow.Array], pyarrow.Array]
    convert: Callable[[Any], Any]


def is_text(kind: pyarrow.DataType) -> bool:
    """Whether a column holds text."""
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def is_encoded(kind: pyarrow.DataType) -> bool:
    """Whether a column holds encoded files: bytes, or {"bytes", "path"} as the Hugging Face hub writes them."""
    if types.is_struct(kind):
        return {field.name for field in kind} == {"bytes", "path"}
    return types.is_binary(kind) or types.is_large_binary(kind)


def media_in(name: str, kind: pyarrow.DataType, asked: type | None = None) -> type[Media] | None:
    """What a column holds to look at or to listen to: what was asked for, else by its name; bytes of any other name are images.

    None for a column of other values.
    """
    named = asked if asked in MEDIA else next((media for media in MEDIA if media.column == name), None)
    if is_text(kind):
        return named
    return (named or Image) if is_encoded(kind) else None


def media_of_file(name: str) -> type[Media] | None:
    """What a file is to look at or to listen to, by the end of its name; None for another."""
    return next((media for media in MEDIA if name.lower().endswith(media.suffixes)), None)


def words_of(value: Any) -> str:
    """A value as text: numbers in digits, true and false as JSON writes them."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_list(kind: pyarrow.DataType) -> bool:
    """Whether a column holds lists."""
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_labels(kind: pyarrow.DataType) -> bool:
    return is_list(kind) and (is_text(kind.value_type) or _is_whole(kind.value_type) or types.is_null(kind.value_type))


def _words_of_all(values: list[Any]) -> list[str]:
    return [words_of(value) for value in values]


def _as_it_is(value: Any) -> Any:
    return value


def _is_whole(kind: pyarrow.DataType) -> bool:
    return types.is_integer(kind) or types.is_boolean(kind)


def _blank(array: pyarrow.Array) -> pyarrow.Array:
    return compute.equal(compute.utf8_trim_whitespace(array), "") if is_text(array.type) else _none(array)


def _none(array: pyarrow.Array) -> pyarrow.Array:
    return pyarrow.array(numpy.zeros(len(array), bool))


def _holds_none(array: pyarrow.Array) -> pyarrow.Array:
    """Lists with a hole or blank text in them."""
    holes, members = numpy.zeros(len(array), bool), compute.list_flatten(array)
    missing = compute.or_(members.is_null(), compute.fill_null(_blank(members), False))
    holes[compute.list_parent_indices(array).filter(missing).to_numpy()] = True
    return pyarrow.array(holes)


def _no_words(array: pyarrow.Array) -> pyarrow.Array:
    """Lists without a member, or with one that has not even a space."""
    bad, members = (
        compute.equal(compute.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(bool),
        compute.list_flatten(array),
    )
    empty = compute.equal(members, "") if is_text(members.type) else _none(members)
    bad[compute.list_parent_indices(array).filter(compute.fill_null(empty, True)).to_numpy()] = True
    return pyarrow.array(bad)


def _no_whole_number(array: pyarrow.Array) -> pyarrow.Array:
    return compute.invert(compute.match_substring_regex(array, _WHOLE)) if is_text(array.type) else _none(array)


def _no_number(array: pyarrow.Array) -> pyarrow.Array:
    """What is no number, and what float32, in which models reckon, has none for: NaN, infinity, 1e39."""
    if not is_text(array.type) and not types.is_floating(array.type):
        return _none(array)
    values = array
    if is_text(array.type):
        numbers = compute.match_substring_regex(array, _NUMBER)
        values = compute.utf8_trim_whitespace(compute.if_else(numbers, array, None)).cast(pyarrow.float64())
    return compute.invert(compute.fill_null(compute.less_equal(compute.abs(values), _LARGEST), False))


def _empty_bytes(array: pyarrow.Array) -> pyarrow.Array:
    if types.is_struct(array.type):
        content, path = compute.struct_field(array, "bytes"), compute.struct_field(array, "path")
        no_content = compute.fill_null(compute.equal(compute.binary_length(content.cast(pyarrow.large_binary())), 0), True)
        return compute.and_(no_content, path.is_null())
    return _blank(array) if is_text(array.type) else compute.equal(compute.binary_length(array), 0)


KINDS: dict[type, Kind] = {
    str: Kind("text", lambda kind: is_text(kind) or _is_whole(kind), _blank, words_of),
    int: Kind("whole numbers", lambda kind: is_text(kind) or types.is_integer(kind), _no_whole_number, int),
    float: Kind("numbers", lambda kind: is_text(kind) or types.is_integer(kind) or types.is_floating(kind), _no_number, float),
    list: Kind("lists of words", _is_labels, _no_words, _words_of_all),
    set: Kind(
        "lists of labels in words or whole numbers, which may be empty",
        _is_labels,
        _holds_none,
        _words_of_all,
    ),
    dict: Kind("objects with named values", types.is_struct, _none, _as_it_is),
    **{media: Kind(f"{media.noun}s", lambda kind: is_text(kind) or is_encoded(kind), _empty_bytes, _as_it_is) for media in MEDIA},
}

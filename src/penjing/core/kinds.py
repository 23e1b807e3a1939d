"""What a column must hold: which Arrow types will do, which values will not, and how a value becomes what was asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import pyarrow
import pyarrow.compute as compute
from pyarrow import types

from penjing.core.media import Media

_WHOLE = r"^\s*[-+]?\d+\s*$"
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


def is_media(kind: pyarrow.DataType) -> bool:
    """Whether a column holds encoded images: bytes, or {"bytes", "path"} as the Hugging Face hub writes them."""
    if types.is_struct(kind):
        return {field.name for field in kind} == {"bytes", "path"}
    return types.is_binary(kind) or types.is_large_binary(kind)


def words_of(value: Any) -> str:
    """A value as text: numbers in digits, true and false as JSON writes them."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_list(kind: pyarrow.DataType) -> bool:
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_whole(kind: pyarrow.DataType) -> bool:
    return types.is_integer(kind) or types.is_boolean(kind)


def _blank(array: pyarrow.Array) -> pyarrow.Array:
    return compute.equal(compute.utf8_trim_whitespace(array), "") if is_text(array.type) else _none(array)


def _none(array: pyarrow.Array) -> pyarrow.Array:
    return pyarrow.array(numpy.zeros(len(array), bool))


def _unlike(pattern: str) -> Callable[[pyarrow.Array], pyarrow.Array]:
    def bad(array: pyarrow.Array) -> pyarrow.Array:
        if is_text(array.type):
            return compute.invert(compute.match_substring_regex(array, pattern))
        return compute.is_nan(array) if types.is_floating(array.type) else _none(array)

    return bad


def _empty_bytes(array: pyarrow.Array) -> pyarrow.Array:
    if types.is_struct(array.type):
        content, path = compute.struct_field(array, "bytes"), compute.struct_field(array, "path")
        no_content = compute.or_(content.is_null(), compute.fill_null(compute.equal(compute.binary_length(content), 0), True))
        return compute.and_(no_content, path.is_null())
    return _blank(array) if is_text(array.type) else compute.equal(compute.binary_length(array), 0)


KINDS = {
    str: Kind("text", lambda kind: is_text(kind) or _is_whole(kind), _blank, words_of),
    int: Kind("whole numbers", lambda kind: is_text(kind) or types.is_integer(kind), _unlike(_WHOLE), int),
    float: Kind("numbers", lambda kind: is_text(kind) or types.is_integer(kind) or types.is_floating(kind), _unlike(_NUMBER), float),
    list: Kind("lists", _is_list, lambda array: compute.equal(compute.list_value_length(array), 0), lambda value: value),
    Media: Kind("images", lambda kind: is_text(kind) or is_media(kind), _empty_bytes, lambda value: value),
}

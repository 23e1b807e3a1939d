"""Options as frozen dataclasses: one description from which flags, Python keywords and recipe entries follow.

A field is `name: Annotated[type, "what it is, with unit", Between(low, high)] = default`. Its type is one of int, float, bool, str, Path,
Literal[...], list of those, Duration, Milliseconds, Latency, Bytes, Dollars, Floor, `int | Literal[...]`, or any of them `| None`. A field
whose default is itself a frozen dataclass is flattened, with the values of that default: all flags of a command live in one namespace.
"""

import dataclasses
import functools
import math
import operator
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from penjing.core.errors import OptionError, nearest

Duration = NewType("Duration", float)
"""Seconds; written 90, 90s, 30m, 2h."""
Bytes = NewType("Bytes", int)
"""Bytes; written 1000, 10kB, 10MB, 2GiB."""
Milliseconds = NewType("Milliseconds", float)
"""Milliseconds; written 2, 2ms, 0.5s."""
Latency = NewType("Latency", str)
"""How long an answer may take: milliseconds (2ms) or a share of what the parent takes (12.5%)."""
Dollars = NewType("Dollars", float)
"""US dollars; written 1000, 1000usd."""
Floor = NewType("Floor", str)
"""How much quality may be lost: points of the primary metric (1.0) or a share of the parent's (3%)."""

T = TypeVar("T")
_UNIONS = (Union, types.UnionType)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MILLISECONDS = {"": 1, "ms": 1, "s": 1000}
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class Between(NamedTuple):
    """The values a number may take, ends included."""

    low: float
    high: float = math.inf

    def __str__(self) -> str:
        low, high = (f"{end:,.0f}" if end % 1 == 0 else f"{end:g}" for end in self)
        return f"at least {low}" if self.high == math.inf else f"{low} to {high}"


class Flag(NamedTuple):
    """One option as users meet it; `path` leads to the nested dataclass that holds it."""

    name: str
    kind: Any
    about: str
    default: Any
    bounds: Between | None
    path: tuple[str, ...]

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a Literal; empty for open types."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()


def flags(options: Any, path: tuple[str, ...] = ()) -> Iterator[Flag]:
    """Every flag of an Options class, nested ones included, in the order they are written.

    options   the class, or an instance whose values are the defaults
    """
    hints = get_type_hints(options if isinstance(options, type) else type(options), include_extras=True)
    for field in dataclasses.fields(options):
        default = field.default if isinstance(options, type) else vars(options)[field.name]
        if dataclasses.is_dataclass(default):
            yield from flags(default, (*path, field.name))
        elif get_origin(hints[field.name]) is Annotated:
            kind, about, *rest = get_args(hints[field.name])
            yield Flag(field.name, _plain(kind), about, default, rest[0] if rest else None, path)


def build(options: type[T], words: dict[str, Any], settings: type | None = None) -> T:
    """An Options instance from words as a user gave them, text or typed.

    settings   the Options of the chosen method; an instance of it becomes the field `settings`

    Raises OptionError for an unknown word, a value of the wrong type or out of its bounds.
    """
    of_method = list(flags(settings, ("settings",))) if settings else []
    known = {flag.name: flag for flag in [*flags(options), *of_method]}
    for name in words:
        if name not in known:
            raise OptionError(f"no option {spell(name)}", wanted=nearest(spell(name), map(spell, known)))
    values = {name: parse(known[name], value) for name, value in words.items()}
    parts = {"settings": _assemble(settings, ("settings",), known, values)} if settings else {}
    return _assemble(options, (), known, values, **parts)


def _assemble(usual: Any, path: tuple[str, ...], known: dict[str, Flag], values: dict[str, Any], **parts: Any) -> Any:
    """`usual`, an Options class or an instance of one, with the values of the flags whose path this is."""
    mine = {name: value for name, value in values.items() if known[name].path == path}
    for field in dataclasses.fields(usual):
        default = field.default if isinstance(usual, type) else vars(usual)[field.name]
        if dataclasses.is_dataclass(default):
            parts[field.name] = _assemble(default, (*path, field.name), known, values)
    return usual(**mine, **parts) if isinstance(usual, type) else dataclasses.replace(usual, **mine, **parts)


def parse(flag: Flag, value: Any) -> Any:
    """A value in the flag's type and bounds.

    Raises OptionError naming the flag, the value and what was wanted.
    """
    if value is None or (value == "none" and flag.default is None and "none" not in get_args(flag.kind)):
        return None
    try:
        parsed = _convert(flag.kind, value)
        within = not flag.bounds or all(
            isinstance(v, str) or flag.bounds.low <= v <= flag.bounds.high for v in (parsed if isinstance(parsed, list) else [parsed])
        )
    except (ValueError, TypeError, KeyError, OverflowError):
        within = False
    if not within:
        wanted = nearest(str(value), map(str, flag.choices)) if flag.choices else _words(flag.kind)
        raise OptionError(f"{spell(flag.name)} cannot be {value!r}", wanted=wanted + (f", {flag.bounds}" if flag.bounds else ""))
    return parsed


def _convert(kind: Any, value: Any) -> Any:
    if get_origin(kind) is list:
        items = value.split(",") if isinstance(value, str) else value
        return [_convert(get_args(kind)[0], item.strip() if isinstance(item, str) else item) for item in items]
    if get_origin(kind) is Literal:
        return {str(choice): choice for choice in get_args(kind)}[str(value)]
    if get_origin(kind) in _UNIONS:
        number, word = get_args(kind)
        return _convert(word if value in get_args(word) else number, value)
    return _CONVERT[kind](value)


def _bool(value: Any) -> bool:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[str(value).lower()]


def _whole(value: Any) -> int:
    if isinstance(value, bool) or float(value) != int(float(value)):
        raise ValueError
    return int(float(value))


def _number(value: Any) -> float:
    if isinstance(value, bool) or math.isnan(number := float(value)):
        raise ValueError
    return number


def _with_unit(units: dict[str, int]) -> Callable[[Any], float]:
    def convert(value: Any) -> float:
        found = re.fullmatch(r"([\d.]+)\s*([a-zA-Z]*)", str(value).strip())
        if not found:
            raise ValueError
        return float(found[1]) * units[found[2].lower()]

    return convert


def _latency(value: Any) -> str:
    text = str(value).strip()
    if not 0 < (float(text.removesuffix("%")) if text.endswith("%") else _with_unit(_MILLISECONDS)(text)) < math.inf:
        raise ValueError
    return text


def milliseconds(latency: Latency, of: float) -> float:
    """What a latency stands for beside a parent that takes so many milliseconds.

    >>> milliseconds(Latency("12.5%"), of=16.0), milliseconds(Latency("3ms"), of=16.0)
    (2.0, 3.0)
    """
    return of * float(latency[:-1]) / 100 if latency.endswith("%") else _with_unit(_MILLISECONDS)(latency)


def _floor(value: Any) -> str:
    text = str(value).strip()
    if not 0 < float(text.removesuffix("%")) < 100:
        raise ValueError
    return text


_CONVERT: dict[Any, Callable[[Any], Any]] = {
    int: _whole,
    float: _number,
    bool: _bool,
    str: str,
    Path: Path,
    Duration: _with_unit(_SECONDS),
    Milliseconds: _with_unit(_MILLISECONDS),
    Latency: _latency,
    Dollars: _with_unit({"": 1, "usd": 1}),
    Bytes: lambda value: int(_with_unit(_BYTES)(value)),
    Floor: _floor,
}


def _words(kind: Any) -> str:
    if get_origin(kind) is list:
        return f"a list of {_words(get_args(kind)[0])}, parted by commas"
    if get_origin(kind) in _UNIONS:
        number, word = get_args(kind)
        return f"{_words(number)} or {' or '.join(get_args(word))}"
    named = {int: "a whole number", float: "a number", bool: "yes or no", Duration: "a time such as 90s, 30m or 2h",
             Milliseconds: "a time such as 2ms", Latency: "a time such as 2ms or a share such as 12%",
             Bytes: "a size such as 500kB or 10MB",
             Dollars: "an amount such as 1000usd", Floor: "points such as 1.0 or a share such as 3%"}  # fmt: skip
    return named.get(kind, "text")


def _plain(kind: Any) -> Any:
    """The type without `| None`."""
    if get_origin(kind) in _UNIONS:
        return functools.reduce(operator.or_, (part for part in get_args(kind) if part is not type(None)))
    return kind


def spell(name: str) -> str:
    """An option as the command line has it: --batch-rows."""
    return "--" + name.replace("_", "-")

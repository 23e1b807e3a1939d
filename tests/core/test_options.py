"""One description of an option makes its flag, its keyword and its recipe entry; what is given is converted and checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from penjing.core.errors import OptionError
from penjing.core.options import Between, Bytes, Duration, Floor, Latency, build, flags


@dataclass(frozen=True)
class Inner:
    rate: Annotated[float, "a rate", Between(0, 1)] = 0.5
    kind: Annotated[Literal["a", "b"], "a kind"] = "a"


@dataclass(frozen=True)
class Outer:
    count: Annotated[int, "a count", Between(1, 1_000_000)] = 3
    names: Annotated[list[str] | None, "names"] = None
    where: Annotated[Path | None, "a place"] = None
    most: Annotated[Bytes | None, "most bytes"] = None
    time: Annotated[Duration | None, "a time"] = None
    floor: Annotated[Floor, "a floor"] = Floor("1.0")
    slowest: Annotated[Latency | None, "a latency"] = None
    on: Annotated[bool, "a switch"] = True
    size: Annotated[int | Literal["auto"], "a size", Between(1, 100)] = 10
    inner: Inner = Inner(rate=0.25)
    settings: Any = None


@dataclass(frozen=True)
class Settings:
    share: Annotated[float, "a share", Between(0.01, 1)] = 0.5


def test_flags_are_the_fields_with_the_defaults_of_the_nested_instance():
    found = {flag.name: flag.default for flag in flags(Outer)}
    assert list(found) == ["count", "names", "where", "most", "time", "floor", "slowest", "on", "size", "rate", "kind"]
    assert found["rate"] == 0.25 and found["kind"] == "a"


def test_what_is_not_given_keeps_the_defaults_also_those_of_nested_instances():
    assert build(Outer, {}) == Outer() and build(Outer, {}).inner.rate == 0.25
    assert build(Outer, {"kind": "b"}).inner == Inner(rate=0.25, kind="b")
    assert build(Outer, {"share": 1}, Settings).settings == Settings(1.0)


SAME = {
    "count": ("5", 5),
    "names": ("a, b", ["a", "b"]),
    "where": ("models/x", Path("models/x")),
    "most": ("2kB", 2000),
    "time": ("1.5m", 90.0),
    "floor": (3.0, "3.0"),
    "slowest": (" 12.5%", "12.5%"),
    "on": ("no", False),
    "rate": ("1e-1", 0.1),
    "kind": ("b", "b"),
    "size": ("7", 7),
}


@pytest.mark.parametrize("name", SAME)
def test_text_and_typed_values_mean_the_same(name):
    given, wanted = SAME[name]
    for value in (given, wanted):
        built = build(Outer, {name: value})
        assert {**vars(built), **vars(built.inner)}[name] == wanted


@pytest.mark.parametrize(
    "text, size", [("1000", 1000), ("10MB", 10**7), ("2 GiB", 2 * 2**30), ("500kb", 500_000)], ids=lambda value: str(value)
)
def test_sizes_are_read_with_their_units(text, size):
    assert build(Outer, {"most": text}).most == size


BAD = [
    ("count", "0", "1 to 1,000,000"),
    ("count", "2.5", "a whole number"),
    ("count", True, "a whole number"),
    ("count", "inf", "a whole number"),
    ("rate", "nan", "a number, 0 to 1"),
    ("rate", [], "a number"),
    ("kind", "c", "'a' or 'b'"),
    ("most", "1.2.3kB", "500kB or 10MB"),
    ("most", "-5", "500kB or 10MB"),
    ("time", "soon", "90s, 30m or 2h"),
    ("floor", "101%", "points such as 1.0 or a share such as 3%"),
    ("floor", "-1", "points"),
    ("slowest", "0ms", "2ms or a share such as 12%"),
    ("slowest", "-3%", "2ms or a share such as 12%"),
    ("slowest", "2 hours", "2ms or a share such as 12%"),
    ("on", "maybe", "yes or no"),
    ("size", "aut", "a whole number or auto, 1 to 100"),
    ("size", "101", "a whole number or auto, 1 to 100"),
]


@pytest.mark.parametrize("name, value, wanted", BAD, ids=[f"{name}={value}" for name, value, _ in BAD])
def test_a_value_of_the_wrong_type_or_out_of_its_bounds_is_named_with_what_was_wanted(name, value, wanted):
    with pytest.raises(OptionError) as caught:
        build(Outer, {name: value})
    assert caught.value.problem == f"--{name} cannot be {value!r}" and wanted in caught.value.wanted


def test_an_unknown_word_is_named_with_the_nearest():
    with pytest.raises(OptionError) as caught:
        build(Outer, {"cuont": 1})
    assert caught.value.problem == "no option --cuont" and caught.value.wanted.startswith("'--count'")


def test_a_word_may_stand_in_the_place_of_a_number():
    assert build(Outer, {"size": "auto"}).size == "auto"


def test_none_is_said_in_a_word_where_it_is_the_default():
    assert build(Outer, {"names": "none"}).names is None

"""Which rows a model learns from, which it is tuned on, and which only prove it: decided by content, so that children inherit it.

Official splits win (validation = tune, test = proof), or a column says which rows prove (fold = 4). What is missing is carved from the
others by a salted hash of the row's input, so that near duplicates stay together and the order of rows, their labels and the file's name
play no part.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy
import pyarrow
import pyarrow.compute as compute

from penjing.core.content import content
from penjing.core.errors import OptionError, nearest
from penjing.core.examples import Examples
from penjing.core.kinds import words_of

Role = Literal["train", "tune", "proof"]
ROLES: tuple[Role, ...] = ("train", "tune", "proof")
OFFICIAL: dict[str, Role] = {"train": "train", "validation": "tune", "test": "proof"}
SHARES = {"train": 0.7, "tune": 0.1, "proof": 0.2}
SALT = "penjing"
SKETCH_SIZE = 256
_LEFT_OUT = 3  # beside the places in ROLES
_SKETCH_SALT = "\0sketch"  # another order than that of the roles, whose train rows are not spread over all hashes


@dataclass(frozen=True, eq=False)
class Roles:
    """The role of every row of some examples.

    role      (rows,) int8: place in ROLES, 3 for rows of train or tune that are left out because they also occur further right
    salt      what the hash was salted with
    how       "official" where splits gave all roles, "hash" where content did, else "mixed"; `notes` say which
    notes     sentences for the card: what was carved, what was left out
    sketch    the 256 smallest hashes of the train rows as hexadecimal numbers; fewer where there are fewer different rows
    """

    role: numpy.ndarray
    salt: str
    how: Literal["official", "hash", "mixed"]
    notes: tuple[str, ...]
    sketch: tuple[str, ...]

    def rows(self, role: Role) -> numpy.ndarray:
        """(rows,) int64 numbers of the rows with this role, in their order.

        Raises OptionError for an unknown role.
        """
        if role not in ROLES:
            raise OptionError(f"no role {role!r}", wanted=nearest(role, ROLES))
        return numpy.flatnonzero(self.role == ROLES.index(role))

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each role; those left out are in no count."""
        return {role: int((self.role == place).sum()) for place, role in enumerate(ROLES)}


class Overlap(NamedTuple):
    """How much of some data a model was trained on.

    share       estimate in [0, 1]; None where no row could be compared
    compared    different rows that it rests on: its standard error is about sqrt(share (1 - share) / compared)
    """

    share: float | None
    compared: int


def assign(
    examples: Examples, input_columns: Iterable[str], salt: str = SALT, by: str | None = None, proof_where: tuple[str, str] | None = None
) -> Roles:
    """Give every row its role.

    input_columns    what a model sees of a row; the label never counts
    by               a column such as speaker or document whose rows stay on one side
    proof_where      a column and a value of it: the rows that have it are the proof rows
    Shares are 70 train, 10 tune, 20 proof per cent of what is carved, in number of rows as the hash happens to fall. A row of train whose
    input (or group) occurs in tune or proof too is left out, and so is a row of tune that occurs in proof; notes count them.
    Raises DataError for a missing column and for a row without a group, OptionError for a value that no row has or beside an official test.
    """
    rows, groups = _keys(examples, input_columns, by)
    splits = _official(examples)
    held_out = _hold_out(splits, examples, *proof_where) if proof_where else []
    given = {role for role in ROLES if (splits == ROLES.index(role)).any()}
    return _filled(splits, given, rows, groups, salt, by, held_out)


def cross_fit(examples: Examples, input_columns: Iterable[str], number: int, salt: str = SALT, by: str | None = None) -> list[Roles]:
    """Roles for a cross-fit, where too few rows are there to keep any aside: first those by which all rows are learnt from, none proves;
    then those of `number` rounds, in each of which another part of the rows proves. Official splits play no part.
    """
    rows, groups = _keys(examples, input_columns, by)
    part = (_salted(groups, f"{salt}\0part") / 2.0**64 * number).astype(int)
    rounds = [numpy.where(part == each, ROLES.index("proof"), -1) for each in (-1, *range(number))]
    return [_filled(splits, {"proof"}, rows, groups, salt, by, []) for splits in rounds]


def _keys(examples: Examples, input_columns: Iterable[str], by: str | None) -> tuple[numpy.ndarray, numpy.ndarray]:
    """(rows,) hashes of what the model sees of a row, and of its group, which is itself where rows come in none."""
    if by is not None:
        examples = examples.require({by: str})
    rows = content(examples, input_columns)
    return rows, rows if by is None else content(examples, [by])


def _filled(
    splits: numpy.ndarray, given: set[Role], rows: numpy.ndarray, groups: numpy.ndarray, salt: str, by: str | None, notes: list[str]
) -> Roles:
    """Roles in which what is not given is carved; `rows` and `groups` are their keys."""
    role, carved = _carve(splits, given, _salted(groups, salt))
    left_out = _leave_out(role, rows, "input") + (_leave_out(role, groups, by) if by else [])
    how: Literal["official", "hash", "mixed"] = "hash" if not given else "mixed" if carved else "official"
    return Roles(role, salt, how, (*notes, *carved, *left_out), sketch_of(rows[role == ROLES.index("train")]))


def overlap(sketch: Sequence[str], examples: Examples, input_columns: Iterable[str]) -> Overlap:
    """Estimate which share of the different rows of `examples` the model behind `sketch` was trained on.

    The sketch holds the smallest hashes of the train rows, so it knows every train row whose hash is at most its largest. The rows of
    `examples` with such a hash are a random sample of them, and the share of it found in the sketch is the estimate: of n rows against N
    train rows about 256 n / N are compared. A sketch of fewer than 256 hashes knows all train rows.

    Source: bottom-k sketches, Cohen and Kaplan 2007; here they estimate containment.
    """
    known = numpy.array([int(number, 16) for number in sketch], numpy.uint64)
    asked = _salted(content(examples, input_columns), _SKETCH_SALT)
    compared = numpy.unique(asked if len(known) < SKETCH_SIZE else asked[asked <= known.max()])
    share = float(numpy.isin(compared, known).mean()) if len(compared) else None
    return Overlap(share, len(compared))


def merge_sketches(*sketches: Sequence[str]) -> list[str]:
    """The sketch of all rows behind several sketches: what a child and its parents were trained on."""
    return sorted({number for sketch in sketches for number in sketch})[:SKETCH_SIZE]


def _official(examples: Examples) -> numpy.ndarray:
    """(rows,) int8: the role that a row's split gives it, -1 for none."""
    places = [ROLES.index(OFFICIAL[part.split]) if part.split in OFFICIAL else -1 for part in examples.parts]
    return numpy.array(places, numpy.int8)[examples.part_of_rows()]


def _hold_out(splits: numpy.ndarray, examples: Examples, column: str, value: str) -> list[str]:
    """Make the rows whose `column` has this value the proof rows, in `splits`; a sentence that says so."""
    proof = ROLES.index("proof")
    if (splits == proof).any():
        raise OptionError(
            f"--proof-where {column}={value}: {examples.name} has an official test split",
            wanted="one or the other",
            fix="leave --proof-where out, or name a single file",
        )
    said = [words_of(found) for found in examples.column(column)]
    rows = numpy.array(said) == value
    if not rows.any():
        raise OptionError(f"--proof-where {column}={value}: no row has this value", wanted=nearest(value, sorted(set(said))))
    splits[rows] = proof
    return [f"proof: the {rows.sum()} rows whose {column} is {value}"]


def _carve(splits: numpy.ndarray, given: set[Role], hashes: numpy.ndarray) -> tuple[numpy.ndarray, list[str]]:
    """Roles with the missing ones carved out of train, and out of rows of no split; a sentence for each carving.

    Proof lies at the lower end of the hashes and tune above it, each so wide that the shares of what is carved keep their proportions.
    """
    role = numpy.where(splits < 0, ROLES.index("train"), splits).astype(numpy.int8)
    source = role == ROLES.index("train")
    if not source.any():
        return role, []
    missing: list[Role] = [name for name in ("proof", "tune") if name not in given]
    total = SHARES["train"] + sum(SHARES[name] for name in missing)
    position, start, notes = hashes / 2.0**64, 0.0, []
    for name in missing:
        end = start + SHARES[name] / total
        role[source & (start <= position) & (position < end)] = ROLES.index(name)
        start = end
        notes.append(f"{name}: {SHARES[name] / total:.1%} of the rows, chosen by a hash of their content, as there is no official split")
    return role, notes


def _leave_out(role: numpy.ndarray, keys: numpy.ndarray, what: str) -> list[str]:
    """Take rows out of train, then of tune, whose key also occurs further right; a sentence for each count."""
    notes = []
    for place, name in ((0, "train"), (1, "tune")):
        for other in range(place + 1, len(ROLES)):
            shared = (role == place) & _among(keys, keys[role == other])
            role[shared] = _LEFT_OUT
            if shared.any():
                notes.append(f"{name}: {shared.sum()} rows left out, whose {what} occurs in {ROLES[other]} too")
    return notes


def sketch_of(hashes: numpy.ndarray) -> tuple[str, ...]:
    """The sketch of rows that were learnt from, by the hashes of their content."""
    salted, most = _salted(hashes, _SKETCH_SALT), 16 * SKETCH_SIZE
    smallest = numpy.unique(numpy.partition(salted, most)[:most] if most < len(salted) else salted)
    if len(smallest) < SKETCH_SIZE and most < len(salted):  # the same few rows over and over
        smallest = numpy.unique(salted)
    return tuple(f"{number:016x}" for number in smallest[:SKETCH_SIZE].tolist())


def _among(keys: numpy.ndarray, others: numpy.ndarray) -> numpy.ndarray:
    """(rows,) bool, as numpy.isin, which sorts and takes five times as long."""
    return compute.is_in(pyarrow.array(keys), pyarrow.array(others)).to_numpy(zero_copy_only=False)


def _salted(hashes: numpy.ndarray, salt: str) -> numpy.ndarray:
    """(rows,) uint64: another order of the hashes for every salt.

    Source: the finaliser of splitmix64, Steele, Lea, Flood 2014: one to one, and every bit of the input moves every bit of the result.
    """
    mixed = hashes ^ numpy.uint64(int.from_bytes(hashlib.blake2b(salt.encode(), digest_size=8).digest(), "little"))
    mixed = (mixed ^ (mixed >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> numpy.uint64(31))

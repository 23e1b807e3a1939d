"""A set of rows made ready for a task: columns named as the task wants them, checked, and each row in its role."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy

from penjing.core import ledger, spelling
from penjing.core.contracts import Example, Task
from penjing.core.errors import DataError, OptionError, nearest
from penjing.core.examples import Examples, read, spread
from penjing.core.model_dir import ModelDir
from penjing.core.roles import ROLES, SALT, Role, Roles, assign, cross_fit, overlap

OVERLAP_LIMIT = 0.02  # share of proof rows that may be known to the parent; single repeated sentences stay below it
FEWEST_SHARED = 2  # rows found in both: one may be a coincidence ("Good!") when few rows could be compared
MOST_BAD = 0.1  # share of rows that may be left out: beyond it something else is wrong, a column or an encoding
MOST_TOLD = 24  # of these rows a card lists so many
MOST_ROWS: dict[str, int] = {"tune": 10_000, "proof": 200_000, "all": 200_000}
"""How many rows are measured at most: 90 % right is then known to 0.6 points during training, to 0.13 points in the end."""
MOST_TEXT: dict[str, int] = {"tune": 1 << 20, "proof": 16 << 20, "all": 16 << 20}
"""The same where every token of a text is told: bytes of it."""


@dataclass(frozen=True)
class DataOptions:
    """How the user's rows are to be read."""

    columns: Annotated[list[str] | None, "names of columns where they differ: text=sentence,label=mood"] = None
    groups: Annotated[str | None, "column that names a row's speaker, document ...: rows of one stay in one role and are one unit"] = None
    proof_where: Annotated[str | None, "rows with this value of a column are the proof rows: fold=4"] = None
    skip_bad_rows: Annotated[
        bool,
        "leave out rows that cannot be read or used, and list them: uneven, empty, of an unknown label, damaged images and sounds, all of "
        f"which are decoded for it first; refused where they are more than {MOST_BAD:.0%}",
    ] = False
    alike_labels: Annotated[
        Literal["merge", "apart"] | None,
        "what becomes of labels that differ in case or white space alone; they are refused unless this says",
    ] = None


@dataclass
class Data:
    """Rows with roles. Training sees `role("train")`, choices are made on `role("tune")`, proofs open `proof(...)`.

    rounds    of a cross-fit: the same rows, in each round with other proof rows; then these have none
    bad       rows that were left out as they cannot be used, place and reason, a sentence each; None where a bad row is an error
    every_token   whether each token of a row is told, so that few rows are many answers
    unlabelled    rows of another source, without labels and roles, as they were given; core/unlabelled.py says which may be learnt from
    """

    examples: Examples
    roles: Roles
    inputs: list[str]
    notes: list[str] = field(default_factory=list)
    rounds: list["Data"] = field(default_factory=list)
    bad: list[str] | None = None
    unlabelled: Examples | None = None
    every_token: bool = False

    @classmethod
    def open(
        cls, source: str | Path, options: DataOptions, task: type[Task] | Task, salt: str | None = None, folds: int = 0,
        labelled: bool = True,
    ) -> "Data":  # fmt: skip
        """Read, rename, check the task's columns, and assign roles.

        folds       rounds of a cross-fit; 0 keeps proof rows aside
        labelled    whether the target columns must be there

        Raises DataError with file, row and column.
        """
        wanted = task.columns if labelled else task.input_columns()
        (examples, misfits), bad = task.adapt(named(source, options)), None
        if options.skip_bad_rows:
            examples, bad = usable(examples, wanted, misfits if labelled else {})
        elif misfits and labelled:
            raise _misfit(misfits, task.usable)
        examples, inputs = examples.require(wanted), task.told_apart_by(examples)
        if options.groups:
            examples = replace(examples.require({options.groups: str}), grouped=options.groups)
        proof_where = condition(options.proof_where) if options.proof_where else None
        if folds and proof_where:
            raise OptionError("--folds lets every row prove once, so no rows can be named by --proof-where", fix="leave one of them out")
        if folds:
            roles, *rounds = cross_fit(examples, inputs, folds, salt or SALT, options.groups)
        else:
            roles, rounds = assign(examples, inputs, salt or SALT, options.groups, proof_where), []
        data = cls(examples, roles, inputs, [*examples.notes, *roles.notes], bad=bad)
        data.every_token = task.self_supervised
        data.rounds = [replace(data, roles=each) for each in rounds]
        return data

    def role(self, name: Role | Literal["all"], most: int | None = None) -> Examples:
        """The rows of a role; at most so many of them, and of those that are measured at most MOST_ROWS, evenly spread."""
        rows = self._rows(name)
        return self.examples.take(rows[spread(len(rows), min(most or len(rows), self._most(name, rows)))])

    def _most(self, name: str, rows: numpy.ndarray) -> int:
        """How many of these rows are measured; all of those that are learnt from."""
        if self.every_token and name in MOST_TEXT and len(rows):
            mean = float(self.examples.take(rows).sizes(["text"]).mean())
            return min(MOST_ROWS[name], max(1, int(MOST_TEXT[name] / max(1.0, mean))))
        return MOST_ROWS.get(name, len(rows))

    def left_out(self, name: Role | Literal["all"]) -> str | None:
        """A sentence for the card where not all rows of a role are measured."""
        rows = self._rows(name)
        there, most = len(rows), self._most(name, rows)
        which = "" if name == "all" else f"{name} "
        return f"measured on {most:,} of the {there:,} {which}rows, evenly spread" if there > most else None

    def targets(self, task: Task, name: Role | Literal["all"] = "all") -> list[tuple[Example, int]]:
        """Every different label of a role, as an example of nothing else, and how many rows name it; nothing where numbers are learnt."""
        if task.open_answers:
            return []
        column, examples = task.target_columns[0], self.examples.take(self._rows(name))
        return [] if examples.kinds.get(column) is float else [({column: value}, n) for value, n in examples.counted(column)]

    def _rows(self, name: Role | Literal["all"]) -> numpy.ndarray:
        return numpy.arange(len(self.examples)) if name == "all" else self.roles.rows(name)

    def proof(self, stage: str, sha256: str) -> Examples:
        """The proof rows; each opening is written to the ledger, and the card says how often that was."""
        ledger.opened(self.examples.fingerprint, stage, sha256)
        return self.role("proof")

    def measuring_rows(self, wanted: str, models: Sequence[ModelDir], stage: str) -> tuple[str, Examples]:
        """Rows for an explicit measurement of `models`, and their role; opening any but the tune rows is written to the ledger.

        wanted   "proof", "tune", "all", or "auto": the proof rows, but every row of a set without splits that the models have not seen
        """
        shares = [self.seen_share(model, role) for model in models for role in ROLES]
        if wanted == "auto":
            wanted = "proof" if self.roles.how == "official" or max(shares) > OVERLAP_LIMIT else "all"
        if wanted == "tune":
            return wanted, self.role("tune")
        for model in models:
            ledger.opened(self.examples.fingerprint, stage, model.sha256())
        if wanted == "all" and max(shares) > OVERLAP_LIMIT:
            self.notes.append(f"about {max(shares):.0%} of some of these rows were trained on: the measures flatter")
        return wanted, self.role("all" if wanted == "all" else "proof")

    def seen_share(self, model: ModelDir, role: Role) -> float:
        """Estimated share of the rows of a role that the model was trained on; 0 where its directory does not say."""
        sketch, rows = model.meta.get("roles", {}).get("sketch"), self.roles.rows(role)
        found = overlap(sketch, self.examples.take(rows), self.inputs) if sketch and len(rows) else None
        return found.share if found and found.share and found.share * found.compared >= FEWEST_SHARED else 0.0

    def require_rows(self, role: Role) -> None:
        """Raise DataError unless the role has rows."""
        if not len(self.roles.rows(role)):
            why = "".join(f" ({note})" for note in self.roles.notes if note.startswith(f"{role}: "))
            raise DataError(
                f"{self.examples.name}: no {role} rows among {len(self.examples)}{why}",
                wanted="at least one",
                fix="pass more rows, or a folder with train, validation and test",
            )

    def check_labels(self, task: Task, learnt: bool = False) -> None:
        """Raise DataError naming the first row whose label the task does not know.

        learnt   the task has its labels from these training rows
        """
        column = task.target_columns[0]
        known = set(task.labels)
        if learnt and len(known) == 1:
            everywhere = f"{self.examples.name}: every training row has the {column} {task.labels[0]!r}"
            raise DataError(everywhere, wanted="two labels at least", fix="pass rows of other labels too")
        unknown = "in no training row" if learnt else "not one this model knows"
        fix = "add rows like it" if learnt else task.unknown_label
        named = {label for target, _ in self.targets(task) for label in task.labels_of(target)}
        if named <= known:
            return
        strange: dict[int, str] = {}
        for row, value in enumerate(self.examples.column(column)):
            for label in task.labels_of({column: value}):
                if label not in known:
                    strange[row] = f"{self.examples.place(row)}, column {column}: label {label!r} is {unknown}"
                    if self.bad is None:
                        fix = "pass --alike-labels merge" if spelling.alike(dict.fromkeys([label, *known], 1), task.labels) else fix
                        raise DataError(strange[row], wanted=nearest(str(label), task.labels), fix=f"correct the row, or {fix}")
        self._leave_out(strange)

    def _leave_out(self, rows: dict[int, str]) -> None:
        """Take rows out, with their place and reason."""
        kept = numpy.delete(numpy.arange(len(self.examples)), list(rows))
        for data in (self, *self.rounds):
            data.examples, data.roles = self.examples.take(kept), replace(data.roles, role=data.roles.role[kept])
        self.bad = [*(self.bad or []), *rows.values()]

    def settle_labels(self, task: Task, how: str | None, known: Sequence[str] | None) -> None:
        """Merge labels that look alike, where `how` is "merge", or raise DataError naming two of them, unless it is "apart".

        known   the labels of the model, whose spellings hold and which alone matter; None where the labels are learnt from these rows
        """
        column = task.target_columns[0]
        counts = {label: n for target, n in self.targets(task) for label in task.labels_of(target)}
        same = {} if how == "apart" else spelling.alike(counts, known or ())
        if not same or (known is not None and how is None):
            return
        if how is None:
            other, first = next(iter(same.items()))
            raise DataError(
                f"{self._naming(task, other)}: {column} {other!r} differs from {first!r} ({self._naming(task, first)}) in case or white "
                f"space alone ({counts[other]:,} and {counts[first]:,} rows)"
                + (f"; {len(same) - 1} more such labels" if len(same) > 1 else ""),
                wanted="one spelling for each label",
                fix="correct the rows, or pass --alike-labels merge; --alike-labels apart where they do mean two things",
            )
        kind = self.examples.kinds[column]
        values = [
            same.get(value, value) if isinstance(value, str) else [same.get(label, label) for label in value]
            for value in self.examples.column(column)
        ]
        merged = self.examples.with_column(column, [[*dict.fromkeys(v)] for v in values] if kind is set else values, kind)
        for data in (self, *self.rounds):
            data.examples = merged
        self.notes += [f"{column}: {other!r} ({counts[other]:,} rows) is taken for {first!r}" for other, first in same.items()]

    def _naming(self, task: Task, label: str) -> str:
        """The first row that names a label."""
        column = task.target_columns[0]
        values = enumerate(self.examples.column(column))
        return self.examples.place(next(row for row, value in values if label in task.labels_of({column: value})))

    def require_few_bad(self) -> None:
        """Put the rows that were left out into the notes; raise DataError where they are more than MOST_BAD of all."""
        if not self.bad:
            return
        total = len(self.examples) + len(self.bad)
        share = f"{len(self.bad):,} of {total:,} rows"
        if len(self.bad) > MOST_BAD * total:
            raise DataError(
                f"{self.examples.name}: {share} cannot be used, the first: {self.bad[0]}",
                wanted=f"at most {MOST_BAD:.0%} of the rows",
                fix="penjing check lists them; correct the rows",
            )
        more = [f"... and {len(self.bad) - MOST_TOLD:,} more"] if len(self.bad) > MOST_TOLD else []
        self.notes += [f"{share} left out by --skip-bad-rows, as they cannot be used:", *self.bad[:MOST_TOLD], *more]

    def check_unseen(self, model: ModelDir) -> None:
        """Raise DataError when the model was trained on the proof rows."""
        share = self.seen_share(model, "proof")
        if share > OVERLAP_LIMIT:
            raise DataError(
                f"{self.examples.name}: about {share:.0%} of the proof rows are among those that {model.path} was trained on",
                wanted="rows that no step has seen",
                fix="pass the data, with their splits, that the model was trained on, or other rows",
            )

    def describe(self) -> dict[str, Any]:
        """What a report says of the data."""
        return {
            "name": self.examples.name,
            "fingerprint": self.examples.fingerprint,
            "licence": self.examples.licence,
            "rows": self.roles.counts,
            "roles": self.roles.how,
            "proof_opened": ledger.times(self.examples.fingerprint),
        }


def usable(examples: Examples, columns: Mapping[str, type], misfits: Mapping[int, str] | None = None) -> tuple[Examples, list[str]]:
    """The rows that can be used, and why not the others, a sentence each.

    misfits   as `Task.adapt` has found them

    Raises DataError where there are none.
    """
    found = dict(sorted({**(misfits or {}), **examples.unusable(columns)}.items()))
    bad = [*examples.unread, *found.values()]
    if len(found) == len(examples):
        raise DataError(f"{examples.name}: no row can be used, the first: {bad[0]}", wanted="rows", fix="correct them")
    return examples.without(found) if found else examples, bad


def _misfit(found: Mapping[int, str], wanted: str) -> DataError:
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return DataError(found[min(found)] + more, wanted=wanted, fix="correct the row or take it out, or pass --skip-bad-rows")


def named(source: str | Path, options: DataOptions) -> Examples:
    """The rows with their columns as the user renames them, not looked at yet."""
    examples = read(source, skip_bad=options.skip_bad_rows)
    return examples.rename(pairs(options.columns)) if options.columns else examples


def pairs(items: Sequence[str]) -> dict[str, str]:
    """Ours by theirs: ["text=sentence"] to {"sentence": "text"}."""
    for item in items:
        if item.count("=") != 1:
            raise OptionError(
                f"--columns cannot be {item!r}",
                wanted="pairs such as text=sentence, parted by commas",
                fix="write each as <ours>=<name in the file>",
            )
    return {theirs: ours for ours, theirs in (item.split("=") for item in items)}


def condition(text: str) -> tuple[str, str]:
    """A column and the value that is asked for: "fold=4" to ("fold", "4")."""
    column, equals, value = text.partition("=")
    if not (column.strip() and equals and value.strip()):
        raise OptionError(
            f"--proof-where cannot be {text!r}", wanted="a column and a value, such as fold=4", fix="write it as <column>=<value>"
        )
    return column.strip(), value.strip()

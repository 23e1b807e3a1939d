"""A set of rows made ready for a task: columns named as the task wants them, checked, and each row in its role."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy

from penjing.core import ledger
from penjing.core.contracts import Task
from penjing.core.errors import DataError, OptionError, nearest
from penjing.core.examples import Examples, read
from penjing.core.model_dir import ModelDir
from penjing.core.roles import ROLES, SALT, Role, Roles, assign, overlap

OVERLAP_LIMIT = 0.02  # share of proof rows that may be known to the parent; single repeated sentences stay below it
FEWEST_SHARED = 2  # rows found in both: one may be a coincidence ("Good!") when few rows could be compared


@dataclass(frozen=True)
class DataOptions:
    """How the user's rows are to be read."""

    columns: Annotated[list[str] | None, "names of columns where they differ: text=sentence,label=mood"] = None
    group_by: Annotated[str | None, "column whose equal values stay in one role: a speaker, a document"] = None


@dataclass
class Data:
    """Rows with roles. Training sees `role("train")`, choices are made on `role("tune")`, proofs open `proof(...)`."""

    examples: Examples
    roles: Roles
    inputs: list[str]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, source: str | Path, options: DataOptions, task: type[Task], salt: str | None = None) -> "Data":
        """Read, rename, check the task's columns, and assign roles.

        Raises DataError with file, row and column.
        """
        examples = read(source)
        if options.columns:
            examples = examples.rename(pairs(options.columns))
        examples = examples.require(task.columns)
        roles = assign(examples, task.input_columns(), salt or SALT, options.group_by)
        return cls(examples, roles, list(task.input_columns()), [*examples.notes, *roles.notes])

    def role(self, name: Role, most: int | None = None) -> Examples:
        """The rows of a role; at most so many of them, evenly spread, since files are often sorted by label."""
        rows = self.roles.rows(name)
        if most is not None and most < len(rows):
            rows = rows[numpy.linspace(0, len(rows) - 1, most).astype(int)]
        return self.examples.take(rows)

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
        return wanted, self.examples if wanted == "all" else self.role("proof")

    def seen_share(self, model: ModelDir, role: Role) -> float:
        """Estimated share of the rows of a role that the model was trained on; 0 where its directory does not say."""
        sketch, rows = model.meta.get("roles", {}).get("sketch"), self.role(role)
        found = overlap(sketch, rows, self.inputs) if sketch and len(rows) else None
        return found.share if found and found.share and found.share * found.compared >= FEWEST_SHARED else 0.0

    def require_rows(self, role: Role) -> None:
        """Raise DataError unless the role has rows."""
        if not len(self.roles.rows(role)):
            raise DataError(
                f"{self.examples.name}: no {role} rows among {len(self.examples)}",
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
        fix = "add rows like it" if learnt else "pass --new-head to finetune to learn a new set of labels"
        for row, label in enumerate(self.examples.column(column)):
            if label not in known:
                raise DataError(
                    f"{self.examples.place(row)}, column {column}: label {label!r} is {unknown}",
                    wanted=nearest(str(label), task.labels),
                    fix=f"correct the row, or {fix}",
                )

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

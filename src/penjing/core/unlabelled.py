"""Rows without labels beside those of a task: opened, and kept apart from the rows that measure."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy

from penjing.core.content import content
from penjing.core.contracts import Task
from penjing.core.data import Data, DataOptions, pairs, usable
from penjing.core.errors import DataError
from penjing.core.examples import Examples, read
from penjing.core.roles import ROLES, sketch_of


def add_unlabelled(data: Data, source: str | Path, options: DataOptions, task: type[Task] | Task) -> None:
    """Give `data`, and each of its rounds, rows without labels.

    Raises DataError where they cannot be used, have labels, or are all among those of `data`.
    """
    for each in (data, *data.rounds):
        each.unlabelled = data.unlabelled or open_unlabelled(source, options, task)
    unseen(data)


def open_unlabelled(source: str | Path, options: DataOptions, task: type[Task] | Task) -> Examples:
    """All rows of a source, whatever its splits; renamed as the labelled ones are, but for the target.

    Raises DataError for a column that is missing, values that will not do, and rows that have a label.
    """
    renamed = {theirs: ours for theirs, ours in pairs(options.columns or []).items() if ours not in task.target_columns}
    examples = read(source, skip_bad=options.skip_bad_rows).rename(renamed)
    if not {*task.input_columns()} <= {*examples.columns}:
        examples, _ = task.adapt(examples)
    wanted = {**task.input_columns(), **({options.groups: str} if options.groups else {})}
    if options.skip_bad_rows:
        examples, bad = usable(examples, wanted)
        left_out = [f"{examples.name}: {len(bad):,} rows left out, as they cannot be used, the first: {bad[0]}"] if bad else []
        examples = replace(examples, notes=(*examples.notes, *left_out))
    examples = examples.require(wanted)
    if not len(examples):
        raise DataError(f"{examples.name}: no rows", wanted="rows without labels", fix="leave --unlabelled out")
    for theirs, ours in pairs(options.columns or []).items():
        if ours in task.target_columns and theirs in examples.columns:
            examples = examples.rename({theirs: ours})
    for column in task.target_columns:
        labels = [value for value, _ in examples.counted(column) if str(value).strip()] if column in examples.columns else []
        if labels:
            raise DataError(
                f"{examples.name}: these rows have labels: {column} {labels[0]!r}",
                wanted=f"no column {column!r}, or an empty one",
                fix="put these rows among DATA, or take the column out",
            )
    return examples


def unseen(data: Data) -> tuple[Examples, list[str]]:
    """The rows without labels that are no rows of `data`, near duplicates and rows of their groups included; a sentence of each that are.

    Raises DataError where none is left.
    """
    given = data.unlabelled
    assert given is not None
    role, notes = numpy.full(len(given), -1), list(given.notes)
    where = " or in a group of theirs" if data.examples.grouped else ""
    for by in (data.inputs, *([[data.examples.grouped]] if data.examples.grouped else [])):
        keys, theirs = content(given, by), content(data.examples, by)
        for place in reversed(range(len(ROLES))):
            if by is data.inputs or ROLES[place] != "train":  # another row of a speaker who is learnt from may be learnt from too
                role[(role < 0) & numpy.isin(keys, theirs[data.roles.role == place])] = place
    for place, name in enumerate(ROLES):
        if count := int((role == place).sum()):
            notes.append(f"{given.name}: {count:,} rows left out, which are among the {name} rows{where}")
    if (role >= 0).all():
        raise DataError(f"{given.name}: every row of it is a row of {data.examples.name} too", wanted="other rows", fix="leave it out")
    return given.take(numpy.flatnonzero(role < 0)), notes


def taught_too(data: Data) -> tuple[Examples | None, dict[str, Any]]:
    """The rows on which a teacher is asked beside those of `data`, None where none were given; what a report says of them."""
    if data.unlabelled is None:
        return None, {}
    given, left_out = unseen(data)
    return given, {"unlabelled": {**described(given), "left_out": left_out}}


def described(given: Examples) -> dict[str, Any]:
    """What a report says of rows without labels that were learnt from."""
    return {"name": given.name, "fingerprint": given.fingerprint, "licence": given.licence, "rows": len(given)}


def sketches(data: Data) -> list[tuple[str, ...]]:
    """The sketches of all that a model learns from: the train rows, and the rows without labels."""
    more = [] if data.unlabelled is None else [sketch_of(content(unseen(data)[0], data.inputs))]
    return [data.roles.sketch, *more]

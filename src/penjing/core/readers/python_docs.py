"""The documentation that every Python carries for `help("topics")`: text to try a model of language on, with no file and no network."""

import hashlib
from pathlib import Path
from platform import python_version

import pyarrow

from penjing.core.arrow_cache import ROW, Stored
from penjing.core.media import in_cell
from penjing.core.readers.part import Part
from penjing.core.readers.plain_text import passages

NAME = "python:docs"
LICENCE = "PSF-2.0 (the Python documentation)"
_SIZE = 1500  # letters of a passage


def part() -> Part:
    """Columns topic, text, before: each topic in passages."""
    from pydoc_data.topics import topics

    rows = [(name, *passage) for name in sorted(topics) for passage in passages([topics[name]], _SIZE)]
    columns = dict(zip(("topic", "text", "before", ROW), (pyarrow.array(column) for column in zip(*rows))))
    content = hashlib.sha256("\n".join(topics[name] for name in sorted(topics)).encode())
    stored = Stored(pyarrow.table(columns), content.hexdigest())

    def place(row: int) -> str:
        return f"{NAME} of Python {python_version()}, topic {rows[row][0]}, line {rows[row][-1]}"

    return Part(NAME, None, stored, place, lambda cell: in_cell(Path(), cell))

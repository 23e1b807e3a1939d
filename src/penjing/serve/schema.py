"""Types of rows and answers as JSON schema, from the columns of each task."""

from typing import Any

from penjing.core.contracts import Task
from penjing.core.kinds import MEDIA

_OF: dict[type, dict[str, Any]] = {
    str: {"type": "string", "minLength": 1},
    list: {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
    **{media: {"type": "string", "contentEncoding": "base64"} for media in MEDIA},
}


def columns_of(task: Task) -> dict[str, Any]:
    """What a row of a task must have: the type of each column."""
    return {name: _OF[kind] for name, kind in task.input_columns().items()}

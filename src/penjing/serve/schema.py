"""The OpenAPI schema of a server: what each model reads, from the columns of its task, and what it answers."""

from importlib.metadata import version
from typing import Any

from penjing.core.contracts import Task
from penjing.core.find import find, names
from penjing.core.kinds import MEDIA
from penjing.engine.load import goes_on
from penjing.serve import Options
from penjing.serve.models import Models

Schema = dict[str, Any]

_OF: dict[type, Schema] = {
    str: {"type": "string", "minLength": 1},
    list: {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
    **{media: {"type": "string", "format": "byte", "description": "base64, or a data: URI"} for media in MEDIA},
}
_STATUSES = {
    400: "no JSON, or no HTTP", 401: "no token", 403: "another origin asks", 404: "no such model or path", 408: "too slow",
    413: "too large", 415: "a type that is not read", 422: "input that this model cannot use", 429: "too many wait; see Retry-After",
    503: "no answer in time",
}  # fmt: skip
ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "wanted", "type", "code"],
            "properties": {
                "message": {"type": "string", "description": "what failed"},
                "wanted": {"type": "string", "nullable": True, "description": "what would have been right"},
                "type": {"type": "string"},
                "code": {"type": "string", "description": "one short word for programs"},
            },
        }
    },
}


def openapi(models: Models, options: Options) -> Schema:
    """The whole; a protocol tells of its routes by `operations(models, options)`: path -> method -> what `operation` gives."""
    paths: Schema = {}
    for name in names("serve.routes"):
        module = find("serve.routes", name)
        if "operations" in vars(module):
            paths |= module.operations(models, options)
    security = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if options.token_file else {}
    return {
        "openapi": "3.0.3", "info": {"title": "penjing", "version": version("penjing")}, "paths": paths,
        "components": {"schemas": {"Error": ERROR}, **security}, **({"security": [{"token": []}]} if security else {}),
    }  # fmt: skip


def operation(summary: str, answer: Schema, body: Schema | None = None, upload: bool = False, events: bool = False) -> Schema:
    """One method of a path, its errors among its answers."""
    refused = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    event = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
    streamed = {"text/event-stream": {"schema": event}} if events else {}
    found: Schema = {
        "summary": summary,
        "responses": {
            "200": {"description": "the answer", "content": {"application/json": {"schema": answer}, **streamed}},
            **{str(status): {"description": said, **refused} for status, said in _STATUSES.items()},
        },
    }
    if body is not None:
        files = {"type": "object", "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}}}
        forms = {"multipart/form-data": {"schema": files}} if upload else {}
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}, **forms}}
    return found


def columns_of(task: Task) -> Schema:
    """What a row of a task must have: the type of each column."""
    return {name: _OF[kind] for name, kind in task.input_columns().items()}


def row_schema(task: Task) -> Schema:
    """Every form of one row."""
    columns = columns_of(task)
    whole = {"type": "object", "properties": columns, "required": [*columns], "additionalProperties": False}
    others: list[Schema] = []
    if goes_on(task):
        message = {"type": "object", "required": ["role", "content"], "properties": {"role": _OF[str], "content": _OF[str]}}
        chat = {"type": "array", "items": message, "minItems": 1}
        others = [_object(prompt=_OF[str]), _object(messages=chat)]
    if "tokens" in columns:
        others = [_object(text=_OF[str])]
    alone = [_OF[str]] if "tokens" in columns else [*columns.values()] if len(columns) == 1 else []
    return {"anyOf": [*alone, whole, *others]}


def rows_schema(task: Task, options: Options) -> Schema:
    """The rows of a request."""
    return {"type": "array", "items": row_schema(task), "minItems": 1, "maxItems": options.most_rows}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}

"""TorchServe's inference and management routes, for clients that were written for it.

Source: pytorch.org/serve, inference_api and management_api. One version of each model, one row a prediction.
"""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router

from penjing.serve import Options
from penjing.serve.asking import answered, model_of, object_of, parts_of, read
from penjing.serve.errors import Refused, as_json
from penjing.serve.inputs import rows_of
from penjing.serve.models import Models, Served
from penjing.serve.schema import Schema, operation, row_schema

PARTS = ("data", "body")
"""What the part of a form or the field of an object is called that holds the row."""
VERSION = "1.0"


def router(models: Models, options: Options) -> Router:
    """/ping, /predictions and /models."""

    async def ping(request: Request) -> Response:
        return as_json({"status": "Healthy"})

    async def predictions(request: Request) -> Response:
        served = model_of(request, models)
        task = served.hosted.task
        value = await row_in(request, options, task.media)
        rows = rows_of([value], task, options)
        (answer,) = await answered(request, served.predict(rows, bool(task.labels)), options)
        chances = answer.probabilities
        if isinstance(chances, dict):
            return as_json(dict(sorted(chances.items(), key=lambda each: -each[1])))
        return as_json(answer.prediction.value)

    async def listed(request: Request) -> Response:
        return as_json({"models": [{"modelName": served.name, "modelUrl": served.name} for served in models]})

    async def one(request: Request) -> Response:
        return as_json([told_of(model_of(request, models), options)])

    async def register(request: Request) -> Response:
        name = request.query_params.get("url", "")
        await models.load(name)
        return as_json({"status": f'Model "{name}" Version: {VERSION} registered with 1 initial workers'})

    async def unregister(request: Request) -> Response:
        name = request.path_params["name"]
        await models.unload(name)
        return as_json({"status": f'Model "{name}" unregistered'})

    routes = Router()
    routes.add_route("/predictions/{name}", predictions, ["POST", "PUT"])
    routes.add_route("/ping", ping, ["GET"])
    routes.add_route("/models", listed, ["GET"])
    routes.add_route("/models", register, ["POST"])
    routes.add_route("/models/{name}", one, ["GET"])
    routes.add_route("/models/{name}", unregister, ["DELETE"])
    return routes


def operations(models: Models, options: Options) -> Schema:
    """For the OpenAPI schema."""
    anything: Schema = {"type": "object"}
    paths = {"/ping": {"get": operation("Alive, as TorchServe says it", anything)}, "/models": {"get": operation("Every model", anything)}}
    for served in models:
        row = {"type": "object", "required": ["data"], "properties": {"data": row_schema(served.hosted.task)}}
        paths[f"/predictions/{served.name}"] = {"post": operation(f"Ask {served.name} about one row", {}, row)}
        paths[f"/models/{served.name}"] = {"get": operation(f"{served.name}, as TorchServe describes it", {"type": "array"})}
    return paths


async def row_in(request: Request, options: Options, media: str) -> Any:
    """The row that a request carries: a file as its body, a part or a field "data", JSON."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    content = await read(request)
    if kind == "multipart/form-data":
        return await _part(request, options, media)
    if kind == "application/x-www-form-urlencoded" and (found := parse_qs(content.decode("utf-8", "replace"))).keys() & {*PARTS}:
        return next(found[name][0] for name in PARTS if name in found)
    if kind == "application/json":
        value = object_of(content)
        return next((value[name] for name in PARTS if name in value), value)
    return content if media != "text" else _text(content)


async def _part(request: Request, options: Options, media: str) -> Any:
    parts = await parts_of(request, options)
    name, value = next(((name, value) for name, value in parts if name in PARTS), (None, None))
    if name is None:
        raise Refused(422, "the form has no part that holds a row", "bad_upload", wanted="a part named 'data'")
    return _text(value) if media == "text" and isinstance(value, bytes) else value


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Refused(422, "the text is not UTF-8", "bad_input", wanted="text in UTF-8") from None


def told_of(served: Served, options: Options) -> dict[str, Any]:
    """A model as TorchServe describes it."""
    started = datetime.fromtimestamp(served.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    worker = {"id": "9000", "startTime": started, "status": "READY" if served.state == "ready" else "UNLOADING"}
    return {
        "modelName": served.name, "modelVersion": VERSION, "modelUrl": served.name, "runtime": "python", "minWorkers": 1, "maxWorkers": 1,
        "batchSize": options.batch_rows, "maxBatchDelay": options.wait, "loadedAtStartup": served.at_start, "workers": [worker],
    }  # fmt: skip

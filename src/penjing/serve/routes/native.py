"""penjing's own routes: what models there are, and their answers."""

import json
import re
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router

from penjing.core.contracts import Example
from penjing.core.errors import ModelError
from penjing.engine import card
from penjing.engine.load import task_name
from penjing.serve import Options
from penjing.serve.asking import answered, body_of, flag_of, model_of, text_field
from penjing.serve.errors import Refused, as_json
from penjing.serve.explaining import USUAL
from penjing.serve.hosted import Answer
from penjing.serve.inputs import rows_of
from penjing.serve.models import Models, Served
from penjing.serve.schema import Schema, columns_of, operation, rows_schema


def router(models: Models, options: Options) -> Router:
    """/v1/models and what is below it."""

    async def predict(request: Request) -> Response:
        begun = time.perf_counter()
        served = model_of(request, models)
        body = await body_of(request, ("inputs", "probabilities"), options)
        probabilities = flag_of(body, "probabilities") and bool(served.hosted.task.labels)
        rows = rows_of(body.get("inputs"), served.hosted.task, options)
        answers = await answered(request, served.predict(rows, probabilities), options)
        told = [prediction_of(served, row, answer) for row, answer in zip(rows, answers)]
        ms = round(1000 * (time.perf_counter() - begun), 3)
        return as_json({"model": served.name, "engine": served.hosted.backend.name, "ms": ms, "predictions": told})

    async def explain(request: Request) -> Response:
        served = model_of(request, models)
        body = await body_of(request, ("inputs", "method", "label"), options)
        method, label = text_field(body, "method") or USUAL, text_field(body, "label")
        rows = rows_of(body.get("inputs"), served.hosted.task, options)
        found = await answered(request, served.explain(rows, method, label), options)
        return as_json({"model": served.name, "explanations": found})

    async def load(request: Request) -> Response:
        return as_json(facts_of(await models.load(request.path_params["name"])))

    async def unload(request: Request) -> Response:
        await models.unload(name := request.path_params["name"])
        return as_json({"id": name, "object": "model", "deleted": True})

    async def listed(request: Request) -> Response:
        return as_json({"object": "list", "data": [facts_of(served) for served in models]})

    async def one(request: Request) -> Response:
        return as_json(whole_of(model_of(request, models), options))

    async def its_card(request: Request) -> Response:
        served = model_of(request, models)
        try:
            report = card.report_of(served.hosted.base)
        except ModelError:
            raise Refused(404, f"{served.name} has no card", "no_card", wanted="a model that a stage of penjing wrote") from None
        return as_json({"summary": without_paths(card.summary(report)), "report": without_paths(json.loads(report.to_json()))})

    routes = Router()
    routes.add_route("/v1/models/{name}/predict", predict, ["POST"])
    routes.add_route("/v1/models/{name}/explain", explain, ["POST"])
    routes.add_route("/v1/models", listed, ["GET"])
    routes.add_route("/v1/models/{name}", one, ["GET"])
    routes.add_route("/v1/models/{name}", load, ["PUT"])
    routes.add_route("/v1/models/{name}", unload, ["DELETE"])
    routes.add_route("/v1/models/{name}/card", its_card, ["GET"])
    return routes


def operations(models: Models, options: Options) -> Schema:
    """For the OpenAPI schema."""
    anything: Schema = {"type": "object"}
    paths = {"/v1/models": {"get": operation("Every model", anything)}}
    for served in models:
        task, path = served.hosted.task, f"/v1/models/{served.name}"
        rows, value = rows_schema(task, options), {"value": {}, "score": {"type": "number", "nullable": True}}
        answer = _object_of("predictions", {"type": "object", "properties": value, "required": [*value]})
        asked = {"inputs": rows, "probabilities": {"type": "boolean", "default": False}}
        why = {
            "inputs": rows,
            "method": {"type": "string", "enum": served.explainer.methods},
            "label": {"type": "string", "nullable": True},
        }
        paths[path] = {"get": operation(f"What {served.name} reads and answers", anything)}
        paths[f"{path}/card"] = {"get": operation(f"What is known of {served.name}", anything)}
        paths[f"{path}/predict"] = {"post": operation(f"Ask {served.name}", answer, _asking(asked), upload=task.media != "text")}
        if served.explainer.methods:
            paths[f"{path}/explain"] = {
                "post": operation(f"Why {served.name} answers so", _object_of("explanations", anything), _asking(why))
            }
    return paths


def _asking(fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": ["inputs"], "additionalProperties": False}


def _object_of(name: str, item: Schema) -> Schema:
    return {"type": "object", "required": [name], "properties": {name: {"type": "array", "items": item}}}


def prediction_of(served: Served, row: Example, answer: Answer) -> dict[str, Any]:
    """An answer as `penjing predict --json` tells it, with the chances that were asked for."""
    value, score = answer.prediction
    told = {"value": value, "score": score, **served.hosted.task.details(value, row)}
    return told if answer.probabilities is None else {**told, "probabilities": answer.probabilities}


def facts_of(served: Served) -> dict[str, Any]:
    """A model in a list, in OpenAI's form."""
    task = served.hosted.task
    return {
        "id": served.name, "object": "model", "created": served.created, "owned_by": "penjing", "task": task_name(task),
        "media": task.media, "engine": served.hosted.backend.name, "bytes": served.num_bytes, "state": served.state,
    }  # fmt: skip


def whole_of(served: Served, options: Options) -> dict[str, Any]:
    """All that is told of a model."""
    task = served.hosted.task
    limits = {
        "rows": options.most_rows, "body_bytes": options.most_body, "characters": options.most_characters, "pixels": options.most_pixels,
        "seconds": options.most_seconds, "deadline_s": options.deadline,
    }  # fmt: skip
    return {
        **facts_of(served), "columns": columns_of(task), "labels": task.labels, "generates": task.generates, "embeds": task.embeds,
        "explains": served.explainer.methods, "limits": limits, "lineage": without_paths(served.hosted.base.lineage),
    }  # fmt: skip


_PATH = re.compile(r"(?<![\w.:/])(?:[A-Za-z]:)?(?:/[^/\s'\"`,;]+)+/([^/\s'\"`,;]+)")


def without_paths(value: Any) -> Any:
    """A report for clients: of each path of this machine its last part."""
    if isinstance(value, dict):
        return {name: str(part).rsplit("/", 1)[-1] if name == "path" else without_paths(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_paths(part) for part in value]
    return _PATH.sub(r"\1", value) if isinstance(value, str) else value

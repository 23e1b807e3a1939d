"""The Open Inference Protocol, version 2, as KServe, Triton and their clients speak it: a row is one element of each input tensor.

Source: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md. Tensors are JSON; the binary extension of
Triton is not spoken.
"""

import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router

from penjing.serve import Options
from penjing.serve.asking import answered, body_of, model_of
from penjing.serve.errors import Refused, as_json
from penjing.serve.hosted import Answer
from penjing.serve.inputs import rows_of
from penjing.serve.models import Models, Served
from penjing.serve.schema import Schema, operation

FIELDS = ("id", "parameters", "inputs", "outputs")
GIVEN = ("value", "score")


def router(models: Models, options: Options) -> Router:
    """/v2 and what is below it."""

    async def server(request: Request) -> Response:
        return as_json({"name": "penjing", "version": version("penjing"), "extensions": []})

    async def live(request: Request) -> Response:
        return as_json({"live": True})

    async def ready(request: Request) -> Response:
        return as_json({"ready": True})

    async def model(request: Request) -> Response:
        return as_json(metadata_of(model_of(request, models)))

    async def model_ready(request: Request) -> Response:
        return as_json({"name": model_of(request, models).name, "ready": True})

    async def infer(request: Request) -> Response:
        served = model_of(request, models)
        body = await body_of(request, FIELDS, options)
        rows = rows_of(elements_of(body.get("inputs"), served), served.hosted.task, options)
        answers = await answered(request, served.predict(rows), options)
        outputs = tensors_of(answers)
        asked = body.get("outputs")
        if asked is not None:
            outputs = _only(outputs, asked)
        named = {"id": body["id"]} if isinstance(body.get("id"), str) else {}
        return as_json({"model_name": served.name, **named, "outputs": outputs})

    routes = Router()
    routes.add_route("/v2/models/{name}/infer", infer, ["POST"])
    for path, endpoint in {"": server, "/health/live": live, "/health/ready": ready}.items():
        routes.add_route(f"/v2{path}", endpoint, ["GET"])
    routes.add_route("/v2/models/{name}", model, ["GET"])
    routes.add_route("/v2/models/{name}/ready", model_ready, ["GET"])
    return routes


def operations(models: Models, options: Options) -> Schema:
    """For the OpenAPI schema."""
    anything: Schema = {"type": "object"}
    paths = {
        f"/v2{path}": {"get": operation(said, anything)}
        for path, said in (("", "The server"), ("/health/live", "Alive"), ("/health/ready", "Ready"))
    }
    for served in models:
        path, columns = f"/v2/models/{served.name}", [*served.hosted.task.input_columns()]
        tensor = {
            "type": "object",
            "required": ["name", "shape", "datatype", "data"],
            "properties": {
                "name": {"type": "string", "enum": columns},
                "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
                "datatype": {"type": "string", "enum": ["BYTES"]},
                "data": {"type": "array", "items": {}, "minItems": 1, "maxItems": options.most_rows},
            },
        }
        asked = {"id": {"type": "string"}, "inputs": {"type": "array", "items": tensor, "minItems": len(columns), "maxItems": len(columns)}}
        body = {"type": "object", "required": ["inputs"], "properties": asked}
        paths[path] = {"get": operation(f"The tensors of {served.name}", anything)}
        paths[f"{path}/ready"] = {"get": operation(f"Whether {served.name} is ready", anything)}
        paths[f"{path}/infer"] = {"post": operation(f"Ask {served.name} by tensors", anything, body)}
    return paths


def metadata_of(served: Served) -> dict[str, Any]:
    """A model by its tensors."""
    inputs = [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in served.hosted.task.input_columns()]
    outputs = [{"name": "value", "datatype": "BYTES", "shape": [-1]}, {"name": "score", "datatype": "FP64", "shape": [-1]}]
    return {"name": served.name, "versions": [], "platform": f"penjing {served.hosted.backend.name}", "inputs": inputs, "outputs": outputs}


def elements_of(tensors: Any, served: Served) -> list[Any]:
    """The rows that input tensors hold.

    Raises Refused for what are no tensors of this model's columns, all of one length.
    """
    columns = [*served.hosted.task.input_columns()]
    wanted = f"a tensor of datatype BYTES for {' and '.join(columns)}: " + json.dumps(
        {"name": columns[0], "shape": [1], "datatype": "BYTES", "data": ["..."]}
    )
    if not isinstance(tensors, list) or not all(isinstance(each, dict) for each in tensors):
        raise Refused(422, "inputs is no list of tensors", "bad_input", wanted=wanted)
    found: dict[str, list[Any]] = {}
    for tensor in tensors:
        name, data, shape = tensor.get("name"), tensor.get("data"), tensor.get("shape")
        if name not in columns or name in found:
            raise Refused(422, f"the tensor {str(name)[:60]!r} is none of this model's, or there twice", "bad_input", wanted=wanted)
        if tensor.get("datatype") != "BYTES" or not isinstance(data, list):
            raise Refused(422, f"the tensor {name!r} holds no texts", "bad_input", wanted=wanted)
        if not isinstance(shape, list) or shape not in ([len(data)], [len(data), 1]):
            raise Refused(
                422, f"the tensor {name!r} has {len(data)} elements and another shape", "bad_input", wanted=f"shape [{len(data)}]"
            )
        found[name] = data
    if len(found) < len(columns) or len({*map(len, found.values())}) > 1:
        raise Refused(422, "a tensor is missing, or longer than another", "bad_input", wanted=wanted)
    if len(columns) == 1:
        return found[columns[0]]
    return [dict(zip(columns, row)) for row in zip(*(found[name] for name in columns))]


def tensors_of(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Answers as output tensors: texts as they are, numbers as FP64, vectors as rows of it, anything else as JSON in BYTES."""
    values = [answer.prediction.value for answer in answers]
    scores = [answer.prediction.score for answer in answers]
    told = [_tensor("value", values)]
    return told if None in scores else [*told, _tensor("score", scores)]


def _tensor(name: str, values: list[Any]) -> dict[str, Any]:
    if all(isinstance(value, float) for value in values):
        return {"name": name, "datatype": "FP64", "shape": [len(values)], "data": values}
    if all(isinstance(value, list) and all(isinstance(number, float) for number in value) for value in values) and values[0]:
        return {
            "name": name,
            "datatype": "FP64",
            "shape": [len(values), len(values[0])],
            "data": [number for row in values for number in row],
        }
    texts = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
    return {"name": name, "datatype": "BYTES", "shape": [len(values)], "data": texts}


def _only(outputs: list[dict[str, Any]], asked: Any) -> list[dict[str, Any]]:
    """Those outputs that a request names."""
    known = {tensor["name"]: tensor for tensor in outputs}
    wanted = " or ".join(map(repr, known))
    if not isinstance(asked, list) or not all(isinstance(each, dict) and each.get("name") in known for each in asked):
        raise Refused(422, "outputs names what this model does not give", "bad_input", wanted=wanted)
    return [known[each["name"]] for each in asked] or outputs

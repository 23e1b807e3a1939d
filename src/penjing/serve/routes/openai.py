"""OpenAI's routes, for its clients: chat, completions, embeddings. A parameter that would change the answer and is not known is refused.

A chat becomes text by the chat template of the tokenizer. Where there is none each message is a line of its role, a colon and its
content, and the model goes on behind "assistant:". What is not said is as the model's generation_config.json has it, so that temperature is
1 only where that file, or the request, says so. Beside OpenAI's own parameters there is `top_k`.

Source   platform.openai.com/docs/api-reference
"""

import base64
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any

import numpy
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router

from penjing.core.contracts import Example
from penjing.core.errors import DataError
from penjing.core.generation import Generation
from penjing.engine.load import goes_on, task_name
from penjing.serve import Options
from penjing.serve.asking import answered, model_of, object_of, read
from penjing.serve.errors import Refused, as_json
from penjing.serve.events import Events
from penjing.serve.fields import Fields
from penjing.serve.inputs import messages_of, row_of, rows_of
from penjing.serve.models import Models, Served, require_whole
from penjing.serve.schema import Schema, operation
from penjing.serve.writing import Stream
from penjing.tasks.text_generation import prompt_of

MOST_STOPS = 16
SAME = {  # parameters of which one value says what this server does anyway
    "n": (1,), "best_of": (1,), "frequency_penalty": (0,), "presence_penalty": (0,), "logit_bias": ({},), "logprobs": (False,),
    "top_logprobs": (0,), "echo": (False,), "suffix": ("",), "response_format": ({"type": "text"},), "tools": ([],),
    "tool_choice": ("none", "auto"), "functions": ([],), "function_call": ("none", "auto"), "modalities": (["text"],),
}  # fmt: skip
IGNORED = ("user", "safety_identifier", "metadata", "store", "service_tier", "prompt_cache_key", "parallel_tool_calls")
"""What clients say for bookkeeping."""


def router(models: Models, options: Options) -> Router:
    """/v1/chat/completions, /v1/completions, /v1/embeddings."""

    async def chat(request: Request) -> Response:
        served, fields = await _asked(request, models)
        messages = messages_of(_plain(fields.take("messages")), "messages", options)
        if not goes_on(served.hosted.task):
            said = f"{served.name} is a model of {task_name(served.hosted.task)}, and does not chat"
            raise Refused(400, said, "no_chat", wanted="a model of text-generation")
        row = row_of(_as_prompt(messages, served.hosted.processor), "messages", served.hosted.task, options)
        return await _answer(request, served, [row], fields, _Form("chat"), options)

    async def complete(request: Request) -> Response:
        served, fields = await _asked(request, models)
        prompts = fields.texts("prompt", options.most_rows)
        if not prompts:
            raise Refused(400, "there is no prompt", "bad_input", wanted="a text, or a list of texts")
        rows = [row_of(prompt, f"prompt[{i}]", served.hosted.task, options) for i, prompt in enumerate(prompts)]
        return await _answer(request, served, rows, fields, _Form("text"), options)

    async def embed(request: Request) -> Response:
        served, fields = await _asked(request, models)
        if not served.hosted.task.embeds:
            said = f"{served.name} is a model of {task_name(served.hosted.task)}, and gives no vectors"
            raise Refused(400, said, "no_embeddings", wanted="a model of feature-extraction")
        rows = rows_of(fields.texts("input", options.most_rows), served.hosted.task, options)
        coded = fields.take("encoding_format") or "float"
        if coded not in ("float", "base64"):
            raise fields.refused("encoding_format", coded, '"float" or "base64"')
        fields.ignored(IGNORED)
        fields.done()
        encoded = await served.encoded(rows)
        vectors = [answer.prediction.value for answer in await answered(request, served.ask(encoded), options)]
        data = [{"object": "embedding", "index": i, "embedding": _coded(vector, coded)} for i, vector in enumerate(vectors)]
        read = sum(map(served.hosted.length, encoded))
        return as_json({"object": "list", "model": served.name, "data": data, "usage": {"prompt_tokens": read, "total_tokens": read}})

    routes = Router()
    routes.add_route("/v1/chat/completions", chat, ["POST"])
    routes.add_route("/v1/completions", complete, ["POST"])
    routes.add_route("/v1/embeddings", embed, ["POST"])
    return routes


def operations(models: Models, options: Options) -> Schema:
    """For the OpenAPI schema."""
    writing = [served.name for served in models if served.writer]
    chatting = [served.name for served in models if served.writer and goes_on(served.hosted.task)]
    embedding = [served.name for served in models if served.hosted.task.embeds]
    text = {"type": "string", "minLength": 1}
    one_or_more = {"anyOf": [text, {"type": "array", "items": text, "minItems": 1, "maxItems": options.most_rows}]}
    part = {"type": "object", "properties": {"type": {"type": "string", "enum": ["text"]}, "text": text}, "required": ["type", "text"]}
    content = {"anyOf": [text, {"type": "array", "items": part, "minItems": 1}]}
    message = {"type": "object", "properties": {"role": text, "content": content}, "required": ["role", "content"]}
    whole, share = {"type": "integer", "minimum": 1, "maximum": 10**6}, {"type": "number", "minimum": 0, "maximum": 2}
    chosen: Schema = {
        "max_tokens": whole, "max_completion_tokens": whole, "temperature": share, "top_k": whole,
        "top_p": {"type": "number", "minimum": 1e-6, "maximum": 1}, "seed": {"type": "integer"}, "stream": {"type": "boolean"},
        "stop": {"anyOf": [text, {"type": "array", "items": text, "maxItems": MOST_STOPS}]},
    }  # fmt: skip
    paths: Schema = {}
    for path, names, field, value, more in (
        ("chat/completions", chatting, "messages", {"type": "array", "items": message, "minItems": 1}, chosen),
        ("completions", writing, "prompt", one_or_more, chosen),
        ("embeddings", embedding, "input", one_or_more, {"encoding_format": {"type": "string", "enum": ["float", "base64"]}}),
    ):
        if names:
            properties = {"model": {"type": "string", "enum": names}, field: value, **more}
            body: Schema = {"type": "object", "properties": properties, "required": ["model", field], "additionalProperties": False}
            told = operation(f"OpenAI's {path}", {"type": "object"}, body, events=path != "embeddings")
            paths[f"/v1/{path}"] = {"post": told}
    return paths


class _Form:
    """How the answers of a protocol look: "chat" or "text"."""

    def __init__(self, kind: str):
        self._chat = kind == "chat"
        self._id, self._created = f"{'chatcmpl' if self._chat else 'cmpl'}-{secrets.token_hex(12)}", int(time.time())

    def whole(self, served: Served, texts: Sequence[str], streams: Sequence[Stream]) -> dict[str, Any]:
        """All of it at once."""
        choices = [self._choice(i, text, stream.finish) for i, (text, stream) in enumerate(zip(texts, streams))]
        return {**self._head(served, "chat.completion"), "choices": choices, "usage": usage_of(streams)}

    def first(self, served: Served) -> list[dict[str, Any]]:
        """What comes before the first piece."""
        return [self._part(served, 0, {"role": "assistant", "content": ""}, None)] if self._chat else []

    def piece(self, served: Served, number: int, text: str) -> dict[str, Any]:
        """A piece of an answer."""
        return self._part(served, number, {"content": text} if self._chat else text, None)

    def end(self, served: Served, number: int, finish: str | None) -> dict[str, Any]:
        """The end of one."""
        return self._part(served, number, {} if self._chat else "", finish)

    def count(self, served: Served, streams: Sequence[Stream]) -> dict[str, Any]:
        """What comes last where it was asked for."""
        return {**self._head(served, "chat.completion.chunk"), "choices": [], "usage": usage_of(streams)}

    def _choice(self, number: int, text: str, finish: str | None) -> dict[str, Any]:
        said = {"message": {"role": "assistant", "content": text, "refusal": None}} if self._chat else {"text": text}
        return {"index": number, **said, "logprobs": None, "finish_reason": finish}

    def _part(self, served: Served, number: int, said: Any, finish: str | None) -> dict[str, Any]:
        choice = {"index": number, "delta" if self._chat else "text": said, "logprobs": None, "finish_reason": finish}
        return {**self._head(served, "chat.completion.chunk"), "choices": [choice]}

    def _head(self, served: Served, chat: str) -> dict[str, Any]:
        return {"id": self._id, "object": chat if self._chat else "text_completion", "created": self._created, "model": served.name}


def usage_of(streams: Sequence[Stream]) -> dict[str, int]:
    """How many tokens were read and written."""
    read, written = sum(stream.read for stream in streams), sum(stream.written for stream in streams)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


async def _asked(request: Request, models: Models) -> tuple[Served, Fields]:
    fields = Fields(object_of(await read(request)))
    name = fields.take("model")
    if not isinstance(name, str):
        raise fields.refused("model", name, "the name of a model of /v1/models")
    return model_of(request, models, name), fields


async def _answer(request: Request, served: Served, rows: Sequence[Example], fields: Fields, form: _Form, options: Options) -> Response:
    chosen, seed = _chosen(fields, options), fields.number("seed", -(2**63), 2**63 - 1, whole=True)
    streaming, asked = fields.flag("stream"), fields.take("stream_options")
    if asked is not None and not (streaming and isinstance(asked, dict)):
        raise fields.refused("stream_options", asked, 'an object, and "stream": true')
    more = Fields(asked or {}, "stream_options.")
    counted = more.flag("include_usage")
    more.flag("include_obfuscation")
    more.done()
    for name, values in SAME.items():
        fields.usual(name, *values)
    fields.ignored(IGNORED)
    fields.done()
    encoded = await served.encoded(rows)
    writing = partial(served.writing, encoded, chosen, None if seed is None else seed % 2**64)
    if streaming:
        return Events(request, _events(served, writing, form, counted), options)
    return as_json(await answered(request, _whole(served, writing, form, len(rows)), options))


async def _whole(served: Served, writing: Callable[[], Any], form: _Form, rows: int) -> dict[str, Any]:
    texts = [""] * rows
    async with writing() as (streams, pieces):
        async for number, piece in pieces:
            texts[number] += piece
    for stream in streams:
        require_whole(stream)
    return form.whole(served, texts, streams)


async def _events(served: Served, writing: Callable[[], Any], form: _Form, counted: bool) -> AsyncGenerator[dict[str, Any]]:
    async with writing() as (streams, pieces):
        for event in form.first(served):
            yield event
        async for number, piece in pieces:
            yield form.piece(served, number, piece)
        for number, stream in enumerate(streams):
            require_whole(stream)
            yield form.end(served, number, stream.finish)
        if counted:
            yield form.count(served, streams)


def _chosen(fields: Fields, options: Options) -> Generation:
    tokens = [fields.number(name, 1, 10**6, whole=True) for name in ("max_completion_tokens", "max_tokens")]
    return Generation(
        max_new_tokens=tokens[0] or tokens[1],
        temperature=fields.number("temperature", 0, 2),
        top_k=fields.number("top_k", 1, 10**6, whole=True),
        top_p=fields.number("top_p", 1e-6, 1),
        stop=fields.texts("stop", MOST_STOPS) or None,
    )


def _plain(messages: Any) -> Any:
    """Messages whose contents are texts, where they came as lists of parts that are texts."""
    if not isinstance(messages, list):
        return messages
    return [{**message, "content": _text(message.get("content"))} if isinstance(message, dict) else message for message in messages]


def _text(content: Any) -> Any:
    parts = content if isinstance(content, list) else []
    if parts and all(isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in parts):
        return "".join(part["text"] for part in parts)
    return content


def _as_prompt(messages: list[dict[str, str]], tokenizer: Any) -> str:
    """A chat as the text that the assistant goes on with."""
    if not tokenizer.chat_template:
        return "".join(f"{message['role']}: {message['content']}\n" for message in messages) + "assistant:"
    try:
        return prompt_of(messages, tokenizer)
    except DataError as error:
        raise Refused(400, f"messages: {error.problem}", "bad_input", wanted=error.wanted) from None


def _coded(vector: list[float], coded: str) -> list[float] | str:
    return base64.b64encode(numpy.array(vector, "<f4").tobytes()).decode() if coded == "base64" else vector

"""What every protocol does around an answer: read the body, wait no longer than somebody wants the answer."""

import asyncio
import json
from collections.abc import Awaitable, Collection
from typing import Any, TypeVar

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from penjing.core.errors import nearest
from penjing.serve import Options
from penjing.serve.errors import Refused
from penjing.serve.limits import HELD, NOTED
from penjing.serve.models import Models, Served

T = TypeVar("T")
BODY_S = 30.0  # that a client may take to send a body
FORM = "multipart/form-data"
FILE = "file"
"""What each part of an upload is called that holds a row."""


async def read(request: Request) -> bytes:
    """The body of a request.

    Raises Refused with 408 where it does not come in time.
    """
    try:
        async with asyncio.timeout(BODY_S):
            return await request.body()
    except TimeoutError:
        raise Refused(408, "the body did not come in time", "slow_client", wanted=f"a whole body within {BODY_S:g} s") from None
    except ClientDisconnect:
        raise _left() from None


def model_of(request: Request, models: Models, name: str | None = None) -> Served:
    """The model of a request, by its path or by `name`: noted for the log, and kept until the answer is complete.

    Raises Refused with 404 where there is none.
    """
    served = models[request.path_params["name"] if name is None else name]
    request.scope[NOTED]["model"] = served.name
    request.scope[HELD].append(served.hold())
    return served


async def body_of(request: Request, known: Collection[str], options: Options) -> dict[str, Any]:
    """The JSON object that a request carries, whatever its Content-Type says; of an upload its files as "inputs".

    known   the names that it may have

    Raises Refused for any other body.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == FORM:
        return await _uploaded(request, known, options)
    if kind.startswith(("image/", "audio/", "video/")):
        raise Refused(415, f"a body of {kind}", "unsupported_type", wanted=f"JSON, or {FORM} with parts named {FILE!r}")
    content = await read(request)
    if options.log_inputs:
        request.scope[NOTED]["body"] = content.decode("utf-8", "replace")
    body = object_of(content)
    for name in body:
        if name not in known:
            raise Refused(422, f"no field {name[:60]!r} here", "bad_input", wanted=nearest(name, known))
    return body


def object_of(content: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises Refused for anything else.
    """
    try:
        found = json.loads(content.decode())
    except json.JSONDecodeError as error:
        raise _no_json(str(error)) from None
    except UnicodeDecodeError:
        raise _no_json("not UTF-8") from None
    except (ValueError, RecursionError):
        raise _no_json("a number of too many digits, or lists in lists without end") from None
    if not isinstance(found, dict):
        raise Refused(422, "the body is JSON, but no object", "bad_json", wanted='a JSON object such as {"inputs": ["..."]}')
    return found


def _no_json(said: str) -> Refused:
    return Refused(400, f"the body is no JSON: {said}", "bad_json", wanted='a JSON object such as {"inputs": ["..."]}')


async def _uploaded(request: Request, known: Collection[str], options: Options) -> dict[str, Any]:
    body: dict[str, Any] = {"inputs": []}
    for name, value in await parts_of(request, options):
        if name == FILE:
            body["inputs"].append(value)
        elif name in known and isinstance(value, str):
            body[name] = {"true": True, "false": False}.get(value, value)
        else:
            raise Refused(422, f"no part {name[:60]!r} here", "bad_input", wanted=nearest(name, [FILE, *known]))
    return body


async def parts_of(request: Request, options: Options) -> list[tuple[str, str | bytes]]:
    """(name, content) of each part of a form; of files bytes.

    Raises Refused for what is no form, or has too many parts.
    """
    await read(request)  # in its time, and kept for the parser
    try:
        async with request.form(max_files=options.most_rows, max_fields=options.most_rows, max_part_size=options.most_body) as form:
            return [(name, await value.read() if isinstance(value, UploadFile) else value) for name, value in form.multi_items()]
    except HTTPException as error:  # what starlette makes of its parser's
        wanted = f"{FORM} with at most {options.most_rows} parts named {FILE!r}"
        raise Refused(400, f"the upload cannot be read: {error.detail}", "bad_upload", wanted=wanted) from None


def flag_of(body: dict[str, Any], name: str) -> bool:
    """A field that is true or false, and false where it is not there."""
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise Refused(422, f"{name} is {json.dumps(value)[:40]}", "bad_input", wanted="true or false")
    return value


def text_field(body: dict[str, Any], name: str) -> str | None:
    """A field that is a text; None where it is null or not there."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused(422, f"{name} is {json.dumps(value)[:40]}", "bad_input", wanted="a text")
    return value


async def answered(request: Request, asked: Awaitable[T], options: Options) -> T:
    """What `asked` gives, unless the client leaves before, or the deadline passes.

    Raises Refused with 503 after the deadline.
    """
    this = asyncio.current_task()
    assert this is not None
    watch = asyncio.get_running_loop().create_task(_cancel_when_left(request.receive, this))
    try:
        async with asyncio.timeout(options.deadline):
            return await asked
    except TimeoutError:
        said = f"no answer within {options.deadline:g} s"
        raise Refused(503, said, "deadline", wanted="fewer rows, or a quieter hour", later=True) from None
    except asyncio.CancelledError:
        if watch.done() and not watch.cancelled():
            this.uncancel()
            raise _left() from None
        raise
    finally:
        watch.cancel()


async def _cancel_when_left(receive: Receive, waiting: "asyncio.Task[Any]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    waiting.cancel()


def _left() -> Refused:
    return Refused(499, "the client left", "client_left")  # nobody reads it but the log

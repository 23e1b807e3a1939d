"""The server as an ASGI application, for uvicorn, for Ray Serve, for any other host."""

import asyncio
import base64
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penjing.core.find import find, names
from penjing.core.model_dir import ModelDir
from penjing.core.options import build
from penjing.core.runtime import Runtime
from penjing.serve import Options
from penjing.serve.errors import Refused
from penjing.serve.limits import Limits
from penjing.serve.metrics import Metrics
from penjing.serve.models import Models
from penjing.serve.tokens import Tokens
from penjing.serve.workers import Changes

PAGE = Path(__file__).with_name("page.html")
_SCRIPT = re.compile(rb"<script[^>]*>(.*?)</script>", re.S)


def create_app(
    sources: Sequence[ModelDir | str | Path], options: Options | None = None, runtime: Runtime | None = None, *, only_here: bool = False,
    folder: Path | None = None, **words: Any,
) -> Starlette:  # fmt: skip
    """An application that serves these model directories, which are open when it returns.

    options     or its fields as `words`
    only_here   whether clients must call it by a name of this machine, unless they carry a token
    folder      where the workers of one server tell each other of models; None for a server of one process

    Raises OptionError for two models of one name, and what opening a model raises.
    """
    options = options or build(Options, words)
    tokens = Tokens(options.token_file) if options.token_file else None
    metrics = Metrics()
    models = Models(sources, options, runtime or Runtime(), metrics, Changes(folder) if folder else None)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(models.follow())
        yield
        watching.cancel()
        await models.close()

    routes = [route for name in names("serve.routes") for route in find("serve.routes", name).router(models, options).routes]
    routes.sort(key=lambda route: "POST" not in route.methods)  # each request looks through them in this order
    if PAGE.exists():
        routes.append(Route("/", _page(PAGE.read_bytes())))
    limits = Middleware(Limits, options=options, metrics=metrics, tokens=tokens, only_here=only_here and tokens is None)
    refusals = {HTTPException: _no_such_route, Refused: _refused}
    app = Starlette(routes=routes, lifespan=lifespan, middleware=[limits], exception_handlers=refusals)
    app.state.models = models
    return app


def _page(content: bytes) -> Any:
    """The page, whose own scripts are the only ones that run."""
    hashes = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in _SCRIPT.findall(content)]
    scripts = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src 'self' data: blob:; media-src data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    async def page(request: Request) -> Response:
        return Response(content, media_type="text/html; charset=utf-8", headers={"content-security-policy": policy})

    return page


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response()


async def _no_such_route(request: Request, error: Exception) -> Response:
    """What starlette itself refuses: a path or a method that there is not."""
    assert isinstance(error, HTTPException)
    said = {404: ("there is nothing at this path", "no_such_path"), 405: ("this path has no such method", "no_such_method")}
    message, code = said.get(error.status_code, (str(error.detail), "refused"))
    return Refused(error.status_code, message, code, wanted="a path of /docs", headers=error.headers).response()

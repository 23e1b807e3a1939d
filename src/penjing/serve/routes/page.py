"""The page for people, at /: one answer that holds its style and its script, and a policy under which nothing else is run or fetched."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router

from penjing.serve import Options
from penjing.serve.models import Models

SCRIPTS = ("words.js", "inputs.js", "answers.js", "page.js")


def router(models: Models, options: Options) -> Router:
    """GET /"""
    content, policy = page()
    headers = {"content-security-policy": policy}

    async def shown(request: Request) -> Response:
        return Response(content, media_type="text/html; charset=utf-8", headers=headers)

    routes = Router()
    routes.add_route("/", shown, ["GET"])
    return routes


def page() -> tuple[bytes, str]:
    """page.html with its style, on that of the reports, and its scripts in it; and its Content-Security-Policy."""
    folder = files("penjing.serve").joinpath("page")
    styles = [files("penjing.engine").joinpath("page.css"), folder.joinpath("page.css")]
    style, script = _joined(styles), '"use strict";\n' + _joined([folder.joinpath(name) for name in SCRIPTS])
    html = folder.joinpath("page.html").read_text("utf-8").replace("/*style*/", style).replace("/*script*/", script)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src 'self' data: blob:; media-src blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html.encode(), policy


def _joined(parts: Sequence[Traversable]) -> str:
    return "".join(part.read_text("utf-8") for part in parts)


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

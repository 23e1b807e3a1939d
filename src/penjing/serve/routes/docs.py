"""What there is to ask, as an OpenAPI schema and as a page of Swagger UI, whose files come with this server."""

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Router
from swagger_ui_bundle import swagger_ui_path

from penjing.serve import Options
from penjing.serve.errors import as_json
from penjing.serve.models import Models
from penjing.serve.schema import openapi

FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>penjing: API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"><div id="ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></html>"""
START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#ui", deepLinking: true})'
POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
}


def router(models: Models, options: Options) -> Router:
    """/openapi.json and /docs."""

    async def schema(request: Request) -> Response:
        return as_json(openapi(models, options))

    async def page(request: Request) -> Response:
        return Response(PAGE, media_type="text/html", headers=POLICY)

    async def start(request: Request) -> Response:
        return Response(START, media_type="text/javascript")

    routes = Router()
    routes.add_route("/openapi.json", schema, ["GET"])
    routes.add_route("/docs", page, ["GET"])
    routes.add_route("/docs/start.js", start, ["GET"])
    for name, kind in FILES.items():
        routes.add_route(f"/docs/{name}", _file(name, kind), ["GET"])
    return routes


def _file(name: str, kind: str):  # type: ignore[no-untyped-def]  # an endpoint
    async def file(request: Request) -> Response:
        return FileResponse(swagger_ui_path / name, media_type=kind)

    return file

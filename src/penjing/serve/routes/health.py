"""Whether the server lives and is ready, for probes; how it fares, for Prometheus."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router

from penjing.serve import Options
from penjing.serve.errors import as_json
from penjing.serve.models import Models
from penjing.serve.schema import Schema, operation


def router(models: Models, options: Options) -> Router:
    """GET /health while the process answers at all, /ready while every model does, /metrics."""

    async def health(request: Request) -> Response:
        return as_json({"status": "ok"})

    async def ready(request: Request) -> Response:
        return as_json({"status": "ready", "models": [served.name for served in models]})

    async def metrics(request: Request) -> Response:
        return Response(models.metrics.page(), media_type=CONTENT_TYPE_LATEST)

    routes = Router()
    routes.add_route("/health", health, ["GET"])
    routes.add_route("/ready", ready, ["GET"])
    routes.add_route("/metrics", metrics, ["GET"])
    return routes


def operations(models: Models, options: Options) -> Schema:
    """For the OpenAPI schema."""
    metrics = operation("Counters for Prometheus", {"type": "string"})
    metrics["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    probes = {f"/{name}": {"get": operation(f"Whether it is {name}", {"type": "object"})} for name in ("health", "ready")}
    return {**probes, "/metrics": {"get": metrics}}

"""The OpenAPI document and its page: Swagger UI from the package that is installed here, nothing from elsewhere."""

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import Request, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.static_files import create_static_files_router

from central.dashboard.pages import frame
from central.web.problems import PROBLEM_TYPE, Problem

_DESCRIPTION: Final = """\
Runs are readings that central accepted; a submission's figures are over the current run of each of its plates.

Sign in with `POST /api/v1/tokens` and send the token as `Authorization: Bearer …`. Lists are newest first and are
continued by the `Link` header. A refusal is `application/problem+json` (RFC 9457). Times are UTC. A well or row that
was not read is never negative: its endpoint is null, and it is in no figure."""


_REFUSAL: Final = {
    "description": "Refused: what was found and what was expected (RFC 9457).",
    "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


class _Document(JsonRenderPlugin):
    """The framework describes refusals of its own shape; ours are problems, and every operation may end in one."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The document with our refusals in it."""
        return super().render(request, with_problems(openapi_schema))


def with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """The same document, every operation refusing with a problem and nothing else."""
    _, components = msgspec.json.schema_components([Problem], ref_template="#/components/schemas/{name}")
    paths = {
        path: {
            method: found
            | {"responses": {k: r for k, r in found["responses"].items() if k < "400"} | {"default": _REFUSAL}}
            for method, found in item.items()
        }
        for path, item in document["paths"].items()
    }
    kept = document["components"] | {"schemas": document["components"].get("schemas", {}) | components}
    return document | {"paths": paths, "components": kept}


class _ApiPage(OpenAPIRenderPlugin):
    """Litestar's own pages load their scripts from a CDN and run some inline; this one does neither."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page around Swagger UI."""
        engine = request.app.template_engine
        assert engine is not None
        page: str = engine.get_template("api.html").render(**frame(request, request.app.state.parts, "/api"))
        return page.encode()


def openapi_config() -> OpenAPIConfig:
    """What the document says beside the routes."""
    return OpenAPIConfig(
        title="Wellread central",
        version=version("wellread"),
        description=_DESCRIPTION,
        path="/api",
        render_plugins=[_Document(path="/openapi.json"), _ApiPage(path="/")],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
                "session": SecurityScheme(type="apiKey", name="wellread_session", security_scheme_in="cookie"),
            }
        ),
        security=[{"bearer": []}, {"session": []}],
    )


def swagger_ui() -> Router:
    """Swagger UI's own files. The package is looked up, not imported: it would bring a web framework's glue."""
    spec = find_spec("swagger_ui")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package swagger-ui-py is not installed (expected with the extra `central`)")
    return create_static_files_router("/swagger-ui", [Path(spec.origin).parent / "static"], name="swagger-ui")

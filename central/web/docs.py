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
from central.web.examples import with_examples
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


# What anyone may send, who can have no names for requests.
_OPEN: Final = ("/api/v1/tokens", "/api/v1/enrolments", "/api/v1/password-links", "/api/v1/invitations")
_IDEMPOTENCY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A name for this very request, of your own making: sent again, it is answered as the first time.",
    "schema": {
        "type": "string",
        "pattern": "^[\\x23-\\x7e]{1,255}$",
        "examples": ["0f8fad5b-d9cb-469f-a165-70867728950e"],
    },
}


class _Document(JsonRenderPlugin):
    """The framework describes refusals of its own shape; ours are problems, and every operation may end in one."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The document with our refusals, request headers and examples in it; it is made once."""
        if self._written is None:
            self._written = super().render(request, complete(openapi_schema))
        return self._written

    _written: bytes | None = None


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """The document as it is served."""
    return with_examples(with_headers(with_problems(_mended(document))))


def _mended(said: Any) -> Any:
    """The framework says of `tuple[X, ...]` that an item is an X or anything, but not both: so nothing would be one."""
    if isinstance(said, list):
        return [_mended(each) for each in said]
    if not isinstance(said, dict):
        return said
    found = {name: _mended(value) for name, value in said.items()}
    if isinstance(found.get("oneOf"), list) and {} in found["oneOf"]:
        (kind,) = [each for each in found.pop("oneOf") if each]
        return found | kind
    return found


def with_headers(document: dict[str, Any]) -> dict[str, Any]:
    """The same document with what any request of a kind may carry."""
    paths = {
        path: {method: _with_header(path, method, found) for method, found in item.items()}
        for path, item in document["paths"].items()
    }
    return document | {"paths": paths}


def _with_header(path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    if method != "post" or not path.startswith("/api/v1/") or path.startswith(_OPEN):
        return operation
    return operation | {"parameters": [*(operation.get("parameters") or ()), _IDEMPOTENCY]}


def with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """The same document, every operation refusing with a problem and nothing else."""
    _, components = msgspec.json.schema_components([Problem], ref_template="#/components/schemas/{name}")
    paths = {
        path: {
            method: found | {"responses": _answers(path, method, found["responses"]) | {"default": _REFUSAL}}
            for method, found in item.items()
        }
        for path, item in document["paths"].items()
    }
    kept = document["components"] | {"schemas": document["components"].get("schemas", {}) | components}
    return document | {"paths": paths, "components": kept}


def _answers(path: str, method: str, said: dict[str, Any]) -> dict[str, Any]:
    """The answers that are no refusals. What is no JSON is said as what it is, and no body as none."""
    kind = next((kind for prefix, kind in _KINDS.items() if method == "get" and path.startswith(prefix)), None)
    found = {}
    for status, answer in said.items():
        schemas = [each.get("schema") for each in answer.get("content", {}).values()]
        without = {name: value for name, value in answer.items() if name != "content"}
        if status >= "400":
            continue
        if kind is not None:
            found[status] = without | {"content": {kind: {"schema": {"type": "string"}}}}
        else:
            found[status] = without if {"type": "null"} in schemas else answer
    if method == "get" and path.startswith("/api/v1/") and kind is None:
        found["304"] = {"description": "The caller has it: `If-None-Match` names its `ETag`."}
    return found


_KINDS: Final = {
    "/api/v1/events": "text/event-stream",
    "/api/v1/changes/events": "text/event-stream",
    "/api/v1/images/": "image/*",
}


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

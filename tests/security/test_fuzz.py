"""Ten thousand hostile requests straight into the app (`FAULTS_FULL=1`: a hundred thousand), as everybody in turn.

None of them ends in a 5xx, passes a permission, shows another laboratory's things or tells how central is made.
"""

import gc
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from sqlalchemy import select

from central.audit.check import check_database
from central.audit.heads import heads_dir
from central.db import make_engine, reading
from central.people.access import access_of, operation, operations
from central.people.permissions import ROLES, Access
from central.settings import Settings
from central.tables import users
from tests.central.web import Client, bearer, central, csrf_token, sign_in
from tests.security.asgi import Answer, send
from tests.security.hostile import Attacker, Request, Shape
from tests.security.seeded import CANARY, OTHERS, Seeded, seed

pytestmark = [pytest.mark.anyio, pytest.mark.system]

FULL = bool(os.environ.get("FAULTS_FULL"))
TOTAL, BATCH = (100_000 if FULL else 6_000), 500

# The broker is not there in these tests, and that is what this one says.
MAY_BE_UNAVAILABLE = {"GET /readyz", "HEAD /readyz"}
TELLS = re.compile(
    rb"Traceback|File \"|sqlalchemy|aiosqlite|asyncpg|litestar\.|msgspec\.|SELECT .* FROM|INSERT INTO"
    rb"|site-packages|\.py\b|/central\.db"
)


@dataclass(frozen=True)
class Caller:
    """Somebody with the credentials that he really has."""

    name: str
    role: str | None
    credentials: tuple[tuple[str, str], ...]
    csrf: str = ""

    @property
    def northern(self) -> bool:
        return self.name.startswith("north-")


def shapes_of(app: Litestar, document: Mapping[str, Any]) -> list[Shape]:
    """Every operation: those of the document with their schemas, pages with the fields of their forms."""
    found = []
    for name in operations(app):
        method, path = name.split(" ", 1)
        described = document["paths"].get(path, {}).get(method.lower(), {})
        queries = tuple(each["name"] for each in described.get("parameters", []) if each["in"] == "query")
        content = described.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        found.append(
            Shape(method, path, queries or ("after", "limit", "next", "site"), schema, _form_of(app, method, path))
        )
    return found


def _form_of(app: Litestar, method: str, path: str) -> tuple[str, ...]:
    for route in app.routes:
        if route.path_format == path and not path.startswith("/api") and method == "POST":
            handler = next(each for each in route.route_handlers if "POST" in each.http_methods)  # type: ignore[union-attr]
            taken = handler.parsed_fn_signature.parameters.get("data")
            kind = taken and taken.annotation
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                return kind.__struct_encode_fields__
            return ("reason", "name", "revision")
    return ()


async def callers_of(client: Client, seeded: Seeded) -> list[Caller]:
    """Nobody, everybody by token, everybody by cookie, the device, and a key of each laboratory."""
    found = [
        Caller("nobody", None, ()),
        Caller("device", "device", (("authorization", f"Bearer {seeded.upload_token}"),)),
    ]
    found += [Caller(name, "key", (("authorization", f"Bearer {key}"),)) for name, key in seeded.keys.items()]
    for name in (*ROLES, *OTHERS):
        role = name.removeprefix("north-")
        token = (await bearer(client, name))["authorization"]
        found.append(Caller(name, role, (("authorization", token),)))
    for name in ("admin", "reviewer", "north-operator"):
        client.cookies.clear()
        await sign_in(client, name)
        cookie = "; ".join(f"{key}={value}" for key, value in client.cookies.items())
        csrf = await csrf_token(client)
        own = (("cookie", cookie), ("sec-fetch-site", "same-origin"))
        found.append(Caller(name, name.removeprefix("north-"), own, csrf))
    client.cookies.clear()
    return found


def complaint(  # noqa: PLR0911  (one line for each promise)
    caller: Caller, request: Request, answer: Answer, access: Access | None, name: str
) -> str | None:
    """What is wrong with this answer."""
    status, kind = answer.status, answer.headers.get("content-type", "")
    if status == 0 or (status >= 500 and name not in MAY_BE_UNAVAILABLE):
        return f"answered {status}"
    if "x-request-id" not in answer.headers or "content-security-policy" not in answer.headers:
        return "without request id or policy"
    if status >= 400 and request.path.startswith("/api/v1/") and request.method != "HEAD":
        if not kind.startswith("application/problem+json"):
            return f"refused as {kind!r}"
        if json.loads(answer.body)["status"] != status:
            return "a problem of another status"
    found = TELLS.search(answer.body) if kind.startswith(("text/html", "application/problem")) else None
    if found is not None:
        return f"tells {found[0]!r}"
    asked = f"{request.path} {request.query}".encode() + request.body
    if caller.northern and CANARY.encode() in answer.body and CANARY.encode() not in asked:
        return "shows another site's things"
    signed_in = not answer.headers.get("location", "").startswith("/sign-in")
    if access is not None and status < 400 and request.method != "OPTIONS" and signed_in and not may(caller, access):
        return f"let {caller.name} through (expected {access.words})"
    return None


def may(caller: Caller, access: Access) -> bool:
    """What the operation says of him."""
    if access.anyone or caller.role is None:
        return access.anyone
    if caller.role == "key":  # it has every scope that there is
        return access.anyone or access.scope is not None
    return access.device if caller.role == "device" else access.allows(caller.role)  # type: ignore[arg-type]


def operation_of(answer: Answer) -> tuple[str, Access | None]:
    """Which operation it came to, if any."""
    handler = answer.scope.get("route_handler")
    if handler is None or "path_template" not in answer.scope:
        return "", None
    name = operation(answer.scope["method"], answer.scope["path_template"])
    return name, access_of(handler, name)


async def roles_now(settings: Settings) -> dict[str, str]:
    """An administrator's request may have changed somebody's role."""
    engine = make_engine(settings.database)
    async with reading(engine) as connection:
        found = {row.name: row.role for row in await connection.execute(select(users.c.name, users.c.role))}
    await engine.dispose()
    return found


@pytest.fixture(scope="module")
async def template(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> tuple[Path, Seeded]:
    """A database with two laboratories, to be copied."""
    folder = tmp_path_factory.mktemp("seeded")
    shutil.copy(migrated_file, folder / "central.db")
    engine = make_engine(f"sqlite+aiosqlite:///{folder / 'central.db'}")
    seeded = await seed(engine)
    await engine.dispose()
    return folder / "central.db", seeded


@pytest.mark.parametrize("batch", range(TOTAL // BATCH))
async def test_no_request_breaks_central_or_passes_a_permission(
    tmp_path: Path, template: tuple[Path, Seeded], batch: int, capfd: pytest.CaptureFixture[str]
) -> None:
    path, seeded = template
    shutil.copy(path, tmp_path / "central.db")
    settings = Settings(data_dir=tmp_path)
    wrong: dict[str, str] = {}
    async with central(settings) as client:
        document = (await client.get("/api/openapi.json", headers=await bearer(client, "viewer"))).json()
        shapes, components = shapes_of(client.app, document), document["components"]["schemas"]
        attacker = Attacker(shapes, seeded.known, components, seed=batch)
        callers = await callers_of(client, seeded)
        for number in range(BATCH):
            caller = attacker.chance.choice(callers)
            request = attacker.request(caller.csrf)
            answer = await send(client.app, request, caller.credentials)
            name, access = operation_of(answer)
            found = complaint(caller, request, answer, access, name)
            if found is not None and found.startswith("let "):
                now = (await roles_now(settings)).get(caller.name)
                found = None if access is not None and now and access.allows(now) else found  # type: ignore[arg-type]
            if found is not None:
                wrong.setdefault(f"{name or request.path}: {found}", f"{batch}/{number} {caller.name} {request}")
    assert wrong == {}, "\n".join(f"{what}\n    {request[:1500]}" for what, request in wrong.items())
    engine = make_engine(settings.database)
    report = await check_database(engine, heads_dir(tmp_path))
    await engine.dispose()
    assert report.intact
    written = "".join(capfd.readouterr())
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", written)
    gc.collect()

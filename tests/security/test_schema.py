"""schemathesis over the whole OpenAPI document, as everybody: every answer is what the document says, and none a 5xx.

A few examples per operation here; `make faults` makes fifty times as many.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient
from schemathesis.checks import not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from central.app import create_app
from central.db import make_engine
from central.people.throttle import LONGEST_DELAY_S
from central.settings import Settings
from tests.central.web import ENDLESS, PASSWORD, Accounts, Clock
from tests.security.seeded import OTHERS, ROLES, Seeded, seed

pytestmark = pytest.mark.system

FULL = bool(os.environ.get("FAULTS_FULL"))
EXAMPLES = 100 if FULL else 2
# What the client takes of what schemathesis would send; a cookie would sign nobody in.
TAKEN = ("method", "url", "headers", "params", "json", "data", "content", "files")
CHECKS = (not_a_server_error, content_type_conformance, response_schema_conformance)
CALLERS = ("nobody", "device", *ROLES, OTHERS[1], "key", "north-key")


@pytest.fixture(scope="module")
def central(
    tmp_path_factory: pytest.TempPathFactory, migrated_file: Path
) -> Iterator[tuple[TestClient[Any], Seeded, Clock]]:
    """Central on a seeded database, in this process; its clock stands still but for the caller's sign-in."""
    folder = tmp_path_factory.mktemp("schema")
    shutil.copy(migrated_file, folder / "central.db")

    async def fill() -> Seeded:
        engine = make_engine(f"sqlite+aiosqlite:///{folder / 'central.db'}")
        seeded = await seed(engine)
        await engine.dispose()
        return seeded

    seeded = anyio.run(fill)
    wanted = Settings(data_dir=folder, requests_per_minute=10**6)  # the clock stands still
    clock = Clock()
    app = create_app(wanted, with_ingest=False, accounts=Accounts(), now=clock)  # type: ignore[arg-type]
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client, seeded, clock


def headers_of(central: tuple[TestClient[Any], Seeded, Clock], caller: str) -> dict[str, str]:
    client, seeded, clock = central
    if caller in ("nobody", "device"):
        return {"authorization": f"Bearer {seeded.upload_token}"} if caller == "device" else {}
    if caller in seeded.keys:
        return {"authorization": f"Bearer {seeded.keys[caller]}"}
    clock.tick(LONGEST_DELAY_S)  # wrong guesses were among the requests: the right one has to wait for them
    answer = client.post("/api/v1/tokens", json={"name": caller, "password": PASSWORD})
    assert answer.status_code == 201, f"{caller} could not sign in: {answer.text}"
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.mark.parametrize("caller", CALLERS)
def test_every_answer_is_what_the_document_says(central: tuple[TestClient[Any], Seeded, Clock], caller: str) -> None:
    client, *_ = central
    document = client.get("/api/openapi.json", headers=headers_of(central, "viewer")).json()
    schema = schemathesis.openapi.from_dict(document)
    wrong: dict[str, str] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path not in ENDLESS:
            try_it(client, operation, headers_of(central, caller), wrong)
    assert wrong == {}


def try_it(client: TestClient[Any], operation: Any, credentials: dict[str, str], wrong: dict[str, str]) -> None:
    """Some requests of one operation; what is wrong with an answer goes into `wrong`."""
    example = st.shared(operation.as_strategy(), key=operation.label)

    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=example)
    def call(case: Any) -> None:
        sent = case.as_transport_kwargs(base_url="http://testserver.local")
        sent["headers"] = {str(k): str(v) for k, v in sent["headers"].items()} | credentials
        answer = client.request(**{name: value for name, value in sent.items() if name in TAKEN})
        if operation.path == "/readyz" and answer.status_code == 503:
            return  # the broker is not there in this test, and that is what it says
        checks = CHECKS if answer.request.method != "HEAD" else CHECKS[:1]  # without a body its type says nothing
        for check in checks:
            try:
                case.validate_response(Response.from_any(answer), checks=[check], headers=credentials)
            except BaseExceptionGroup as group:
                wrong.setdefault(f"{operation.label} {check.__name__}", str(group.exceptions[0])[:600])
            except AssertionError as error:
                wrong.setdefault(f"{operation.label} {check.__name__}", str(error)[:600])

    call()

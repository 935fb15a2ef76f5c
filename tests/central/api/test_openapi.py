"""The OpenAPI document: 3.1, with an example of everything that is what its schema says; its page needs no internet."""

import re
from typing import Any

import jsonschema
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.app import create_app
from central.people.access import operations as access_table
from central.settings import Settings
from central.web.docs import complete
from central.web.examples import example
from tests.central.web import bearer, central, people


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """As it is served."""
    return complete(create_app(Settings(), with_ingest=False).openapi_schema.to_schema())


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(name, operation) of every one."""
    return [(f"{method} {path}", found) for path, item in document["paths"].items() for method, found in item.items()]


def media(operation: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(where, media type, what is said of it) of its body and its answers."""
    holders = {"body": operation.get("requestBody", {})} | operation["responses"]
    return [
        (where, kind, said) for where, holder in holders.items() for kind, said in holder.get("content", {}).items()
    ]


def test_every_operation_has_an_example_of_its_body_its_answers_and_its_parameters(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    for name, operation in operations(document):
        assert media(operation), f"{name} answers nothing"
        for where, kind, said in media(operation):
            assert said.get("example") is not None, f"{name} {where} {kind}"
        for parameter in operation.get("parameters") or ():
            assert "example" in parameter, f"{name} {parameter['name']}"


def test_every_example_is_what_its_schema_says(document: dict[str, Any]) -> None:
    wrong, looked_at = [], 0
    for name, operation in operations(document):
        given = [(where, said["schema"], said["example"]) for where, kind, said in media(operation) if "json" in kind
                 and "schema" in said]  # fmt: skip
        given += [(each["name"], each["schema"], each["example"]) for each in operation.get("parameters") or ()]
        for where, schema, value in given:
            looked_at += 1
            checked = jsonschema.Draft202012Validator(schema | {"components": document["components"]})
            wrong += [
                f"{name} {where}: {error.json_path} {error.message[:200]}" for error in checked.iter_errors(value)
            ]
    assert wrong == []
    assert looked_at > 300


def test_a_list_in_a_body_holds_what_its_items_are(document: dict[str, Any]) -> None:
    """The framework's own schema of `tuple[X, ...]` would let nothing be an item."""
    scopes = document["components"]["schemas"]["KeyIn"]["properties"]["scopes"]["items"]
    checked = jsonschema.Draft202012Validator(scopes)
    assert (checked.is_valid("results:read"), checked.is_valid("everything")) == (True, False)


def test_what_is_no_json_is_said_as_what_it_is(document: dict[str, Any]) -> None:
    found = {path: list(item["get"]["responses"]["200"]["content"]) for path, item in document["paths"].items()
             if path in ("/api/v1/events", "/api/v1/changes/events", "/api/v1/images/{sha256}")}  # fmt: skip
    assert sorted(kind for kinds in found.values() for kind in kinds) == ["image/*", *["text/event-stream"] * 2]


def test_an_example_that_cannot_be_made_is_named() -> None:
    with pytest.raises(ValueError, match="no example of 'shelf'"):
        example({"type": "string", "pattern": "^[!]{3}$"}, {}, "shelf")


def test_a_post_that_a_machine_may_send_says_that_it_may_name_itself(document: dict[str, Any]) -> None:
    app = create_app(Settings(), with_ingest=False)
    for name, access in access_table(app).items():
        method, path = name.split(" ")
        if method == "POST" and path.startswith("/api/v1/"):
            said = [each["name"] for each in document["paths"][path]["post"].get("parameters") or ()]
            assert ("Idempotency-Key" in said) != access.anyone, name


@pytest.mark.anyio
async def test_the_page_and_all_that_it_loads_come_from_here(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        own = await bearer(client)
        page = await client.get("/api", headers=own)
        assert page.status_code == 200
        loaded = re.findall(r'(?:src|href)="([^"]+\.(?:js|css|png|svg))"', page.text)
        assert any("swagger-ui" in each for each in loaded)
        assert all(each.startswith("/") and not each.startswith("//") for each in loaded)
        for each in loaded:
            assert (await client.get(each, headers=own)).status_code == 200, each

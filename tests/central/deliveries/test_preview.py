"""A file is looked at before it is sent: what it would be now, what it leaves out and why; nothing is kept of it."""

import base64
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading
from central.deliveries.dialect import DialectError, load
from central.settings import Settings
from central.tables import audit_entries, changes, deliveries, delivery_rules
from tests.central.deliveries.test_rules import deliver, rule
from tests.central.review.reviews import RUN, accept, dossier, doubtful, override, read_plate, say, sign, withhold
from tests.central.review.reviews import people as reviewers
from tests.central.web import Clock, bearer, central, csrf_token, people, sign_in
from tests.make import make_wells

pytestmark = pytest.mark.anyio
OWN = """name = "own"
version = 1
title = "Ours"
shape = "table"
source = "titres"
file_name = "own_{submission}.csv"
columns = [
  { field = "row" },
  { field = "titre" },
]
"""


async def rows_written(engine: AsyncEngine) -> list[int]:
    """How many there are of everything that a preview could have written."""
    async with reading(engine) as connection:
        tables = (deliveries, delivery_rules, audit_entries, changes)
        return [await connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


async def test_a_preview_is_the_file_and_nothing_is_written(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    rita = (await reviewers(engine))["rita"]
    await read_plate(engine, wells=doubtful())
    await say(engine, rita, withhold("H"))
    one = await dossier(engine)
    async with central(settings) as client:
        headers = await bearer(client)
        before = await rows_written(engine)
        for of, subject in (("run", RUN), ("test", one.test_id), ("plate", one.run.plate_id)):
            body = {"of": of, "id": subject, "dialect_toml": OWN}
            found = (await client.post("/api/v1/delivery-previews", json=body, headers=headers)).json()
            lines = found["text"].splitlines()
            assert (found["name"], lines[0]) == ("own_S-1001.csv", "row,titre")
            assert not [line for line in lines if line.startswith("H")]
            why = {each["what"]: each["why"] for each in found["left_out"]}
            assert why["row H"] == "a reviewer set it not reportable"
            assert found["against"] == ["NDV, plate 1 is in_review (expected approved)"]
        wells = {"of": "run", "id": RUN, "dialect": "wells"}
        left = (await client.post("/api/v1/delivery-previews", json=wells, headers=headers)).json()["left_out"]
        assert ("well B7", "it was not read (not_read)") in [(each["what"], each["why"]) for each in left]
        needs = {"of": "run", "id": RUN, "dialect": "openelis"}
        left = (await client.post("/api/v1/delivery-previews", json=needs, headers=headers)).json()["left_out"]
        assert "it has no sample_id, which the dialect requires" in {each["why"] for each in left}
        book = {"of": "run", "id": RUN, "dialect": "xlsx"}
        found = (await client.post("/api/v1/delivery-previews", json=book, headers=headers)).json()
        assert (found["text"], base64.b64decode(found["base64"])[:2]) == (None, b"PK")
    assert await rows_written(engine) == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"of": "run", "id": "0" * 36, "dialect": "titres"}, 404),
        ({"of": "test", "id": "0" * 36, "dialect": "titres"}, 404),
        ({"of": "submission", "id": "0" * 36, "dialect": "titres"}, 404),
        ({"of": "run", "id": RUN, "dialect": "rubble"}, 422),
        ({"of": "run", "id": RUN}, 422),
        ({"of": "well", "id": RUN, "dialect": "titres"}, 400),
        ({"of": "run", "id": RUN, "dialect": "senaite-2d"}, 409),
    ],
)
async def test_what_cannot_be_previewed_says_why(
    engine: AsyncEngine, settings: Settings, body: dict[str, Any], status: int
) -> None:
    await people(engine)
    await read_plate(engine, wells=make_wells(6))
    async with central(settings) as client:
        answer = await client.post("/api/v1/delivery-previews", json=body, headers=await bearer(client))
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("wrong", "right", "pointer", "line"),
    [
        ("field = 3", 'field = "titre"', "/columns/1/field", 9),
        ('field = "rubble"', 'field = "titre"', "/columns/1/field", 9),
        ('shape = "cloud"', 'shape = "table"', "/shape", 4),
        ('file_name = "../x.csv"', 'file_name = "own_{submission}.csv"', "/file_name", 6),
        ('colour = "red"', 'title = "Ours"', "/colour", 3),
        ("version = = 1", "version = 1", "", 2),
        ('decimal = ","\nversion = 1', "version = 1", "/delimiter", None),
    ],
)
def test_what_is_wrong_with_a_dialect_is_said_by_line_and_field(
    wrong: str, right: str, pointer: str, line: int | None
) -> None:
    assert OWN.count(right) == 1
    with pytest.raises(DialectError) as caught:
        load(OWN.replace(right, wrong))
    found = [(each.pointer, each.line) for each in caught.value.findings]
    assert (pointer, line) in found


def test_every_finding_is_said_at_once() -> None:
    with pytest.raises(DialectError) as caught:
        load(OWN.replace('"row"', '"x"').replace('"titre"', '"y"'))
    assert [(each.pointer, each.line) for each in caught.value.findings] == [
        ("/columns/0/field", 8),
        ("/columns/1/field", 9),
    ]


async def test_the_page_shows_a_file_and_what_is_wrong_with_a_pasted_dialect(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    await read_plate(engine, wells=make_wells(6))
    async with central(settings) as client:
        await sign_in(client)
        assert "Preview of a file" in (await client.get("/deliveries/preview")).text
        shown = (await client.get("/deliveries/preview?submission=S-1001&dialect=labware")).text
        assert "SAMPLE_NUMBER,TEST_NUMBER" in shown
        assert "It would not be sent now" in shown
        form = {"csrf_token": await csrf_token(client), "submission": "S-1001", "test": "NDV"}
        pasted = await client.post("/deliveries/preview", data=form | {"dialect_toml": OWN})
        assert "own_S-1001.csv" in pasted.text
        wrong = await client.post("/deliveries/preview", data=form | {"dialect_toml": OWN.replace('"row"', '"<b>"')})
        assert (wrong.status_code, "line 8: no field" in wrong.text, "<b>" in wrong.text) == (422, True, False)
        assert (await client.get("/deliveries/preview?submission=S-404")).status_code == 404


async def test_a_rules_own_dialect_is_refused_with_the_line(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    body = {"title": "LIMS", "dialect_toml": OWN.replace('"row"', '"x"'), "target_kind": "folder", "target": {}}
    async with central(settings) as client:
        answer = await client.post("/api/v1/delivery-rules", json=body, headers=await bearer(client, "admin"))
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["detail"][:7]) == ("/dialect_toml/columns/0/field", "line 8:")


async def test_what_a_correction_changed_is_in_api_and_page(
    engine: AsyncEngine, settings: Settings, tmp_path: Any
) -> None:
    clock = Clock()
    await people(engine)
    await rule(engine)
    rita = (await reviewers(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))
    for steps in ((accept(),), (override("A6"), accept())):
        await say(engine, rita, *steps)
        await sign(engine, rita)
        await deliver(engine, tmp_path, clock)
    async with reading(engine) as connection:
        ids = list(await connection.scalars(select(deliveries.c.id).order_by(deliveries.c.revision)))
    async with central(settings) as client:
        headers = await bearer(client)
        first, second = [(await client.get(f"/api/v1/deliveries/{each}", headers=headers)).json() for each in ids]
        assert first["differences"] is None
        assert second["differences"]["since_revision"] == 1
        assert [(each["where"], each["old"], each["new"]) for each in second["differences"]["items"]] == [
            ("A", "1:64", "1:32"),
            ("A6", "flowing", "button"),
        ]
        await sign_in(client)
        page = (await client.get(f"/deliveries/{ids[1]}")).text
    assert "What is different from revision 1" in page
    assert "<td>1:64</td><td>1:32</td>" in page

"""`wellread-central deliver`: what came of files, once more, and a file to look at; what is done is in the trail."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import make_engine, reading, transaction
from central.settings import Settings
from central.tables import audit_entries, deliveries
from tests.central.deliveries.test_outbox import make_delivery as make_file
from tests.central.deliveries.test_preview import OWN
from tests.central.deliveries.test_rules import rule
from tests.central.review.reviews import accept, people, say, sign
from tests.central.test_main import fill, run
from tests.central.wire import make_delivery
from tests.make import make_wells

FAILED = "d0000001-0000-4000-8000-000000000000"


def on(settings: Settings, do: Any) -> Any:
    """This, with an engine of its own."""

    async def use() -> Any:
        engine = make_engine(settings.database)
        try:
            return await do(engine)
        finally:
            await engine.dispose()

    return asyncio.run(use())


async def a_failed_delivery(engine: AsyncEngine) -> None:
    """One that was given up."""
    await make_file(engine, FAILED)
    async with transaction(engine) as connection:
        await connection.execute(update(deliveries).values(state="failed", last_error="no room (make room there)"))


async def an_approved_test(engine: AsyncEngine) -> None:
    """A delivery that waits for its worker."""
    await rule(engine)
    rita = (await people(engine))["rita"]
    await say(engine, rita, accept())
    await sign(engine, rita)


async def trail(engine: AsyncEngine) -> list[tuple[str, str, str]]:
    """(who, which, what) of every change to deliveries."""
    query = select(audit_entries.c.actor_kind, audit_entries.c.actor_id, audit_entries.c.action)
    async with reading(engine) as connection:
        rows = await connection.execute(query.order_by(audit_entries.c.number))
        return [(row.actor_kind, row.actor_id, row.action) for row in rows if row.action.startswith("delivery.")]


def test_what_failed_is_listed_shown_with_what_to_do_and_tried_again(settings: Settings) -> None:
    fill(settings)
    on(settings, a_failed_delivery)
    assert f"{FAILED}  failed" in run(settings, "deliver", "list", "--state", "failed").output
    assert run(settings, "deliver", "list", "--state", "placed").output == ""
    assert "what to do: no room (make room there)" in run(settings, "deliver", "show", FAILED).output
    assert json.loads(run(settings, "deliver", "show", FAILED, "--json").stdout)["delivery"]["state"] == "failed"
    assert run(settings, "deliver", "again", FAILED).output == f"{FAILED} is tried again\n"
    assert on(settings, trail) == [("command", "wellread-central", "delivery.retry")]
    (listed,) = json.loads(run(settings, "deliver", "list", "--json").stdout)
    assert listed["state"] == "pending"


def test_what_did_not_fail_is_sent_again_under_a_new_name(settings: Settings) -> None:
    fill(settings, make_delivery(1, wells=make_wells(6)))
    on(settings, an_approved_test)
    (first,) = json.loads(run(settings, "deliver", "list", "--json").stdout)
    assert "is on its way" in run(settings, "deliver", "again", first["id"]).output
    listed = json.loads(run(settings, "deliver", "list", "--json").stdout)
    assert {each["revision"]: each["state"] for each in listed} == {1: "superseded", 2: "pending"}
    assert on(settings, trail) == [("command", "wellread-central", "delivery.send")]


@pytest.mark.parametrize("command", ["show", "again"])
def test_an_unknown_delivery_is_one_clear_line(settings: Settings, command: str) -> None:
    fill(settings)
    refused = run(settings, "deliver", command, "nowhere")
    assert (refused.exit_code, "no delivery 'nowhere'" in refused.output) == (1, True)


def test_a_file_is_written_to_a_place_or_to_stdout_and_says_why_it_would_not_go(
    settings: Settings, tmp_path: Path
) -> None:
    fill(settings, make_delivery(1, wells=make_wells(9)))
    target, own = tmp_path / "out.csv", tmp_path / "own.toml"
    of = ("deliver", "render", "S-1001", "--test", "NDV")
    written = run(settings, *of, "--dialect", "labware", "-o", str(target))
    assert (written.exit_code, "S-1001,NDV,9,8\n" in target.read_text()) == (0, True)
    assert "would not be sent now: NDV, plate 1 is read (expected approved)" in written.stderr
    assert run(settings, *of, "--dialect", "labware", "-o", "-").stdout_bytes == target.read_bytes()
    own.write_text(OWN)
    assert run(settings, *of, "--toml", str(own), "-o", "-").stdout.startswith("row,titre\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("S-9", "--dialect", "labware"), "no submission 'S-9' here"),
        (("S-1001", "--test", "IBV", "--dialect", "labware"), "no submission 'S-1001', test 'IBV' here"),
        (("S-1001", "--dialect", "senaite-2d"), "has no serum id"),
        (("S-1001", "--dialect", "rubble"), "no dialect 'rubble'"),
        (("S-1001",), "expected one of the two"),
    ],
)
def test_a_file_that_cannot_be_leaves_what_is_there_alone(
    settings: Settings, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    fill(settings, make_delivery(1, wells=make_wells(9)))
    target = tmp_path / "out.csv"
    target.write_text("before")
    refused = run(settings, "deliver", "render", *options, "-o", str(target))
    assert (refused.exit_code != 0, said in refused.output) == (True, True), refused.output
    assert target.read_text() == "before"


def test_a_dialect_with_faults_names_their_lines(settings: Settings, tmp_path: Path) -> None:
    fill(settings, make_delivery(1))
    own = tmp_path / "own.toml"
    own.write_text(OWN.replace('"row"', '"x"'))
    assert "line 8: no field 'x'" in run(settings, "deliver", "render", "S-1001", "--toml", str(own), "-o", "-").output

"""From an approval to a file: once for what was approved, again under a new name for what was changed since."""

import csv
import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading, transaction
from central.deliveries.dialect import shipped
from central.deliveries.outbox import Worker, work
from central.deliveries.rules import generate, raise_one, valid
from central.deliveries.targets.folder import Folder
from central.deliveries.targets.target import Target
from central.tables import deliveries, delivery_rules
from tests.central.review.reviews import RUN, accept, dossier, override, people, read_plate, say, sign, withhold
from tests.central.web import Clock
from tests.make import NOON, make_wells

pytestmark = pytest.mark.anyio


async def rule(engine: AsyncEngine, **fields: Any) -> Row[Any]:
    """A rule that sends titres of a test once it is approved."""
    values = {
        "id": "rule", "site_id": "main", "title": "LIMS", "revision": 1, "when": "approved", "of": "test",
        "dialect": msgspec.to_builtins(shipped()["titres"]), "target_kind": "folder", "target": {}, "enabled": True,
        "created_at": NOON, "in_force_since": NOON, "created_by": "anna",
    }  # fmt: skip
    async with transaction(engine) as connection:
        await connection.execute(insert(delivery_rules).values(values | fields))
        mine = delivery_rules.c.id == (values | fields)["id"]
        return (await connection.execute(select(delivery_rules).where(mine))).one()


async def deliver(engine: AsyncEngine, folder: Path, clock: Clock) -> None:
    """Do what is due."""

    async def where(_: Row[Any]) -> Target:
        return Folder(folder)

    clock.tick(100)
    await work(engine, Worker(f"w{clock.at}", clock, lambda: 0.5, generate, where, valid))


async def approved(engine: AsyncEngine, rita: str) -> int:
    """Sign the run as it is; how many deliveries this made."""
    before = len(await states(engine))
    await sign(engine, rita)
    return len(await states(engine)) - before


def titres(file: Path) -> dict[str, str]:
    """Row → log₂ titre."""
    return {line["row"]: line["titre_log2"] for line in csv.DictReader(io.StringIO(file.read_text()))}


async def states(engine: AsyncEngine) -> list[tuple[int, str]]:
    """(revision, state) of every delivery."""
    query = select(deliveries.c.revision, deliveries.c.state).order_by(deliveries.c.revision)
    async with reading(engine) as connection:
        return [(row.revision, row.state) for row in await connection.execute(query)]


async def test_an_approved_test_leaves_once_and_a_correction_of_it_under_a_new_name(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    clock, drop = Clock(), tmp_path / "drop"
    drop.mkdir()
    await rule(engine)
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))
    await say(engine, rita, accept())
    assert await approved(engine, rita) == 1
    await deliver(engine, drop, clock)
    (first,) = drop.iterdir()
    assert titres(first)["A"] == "6"
    first.rename(tmp_path / "taken.csv")

    await say(engine, rita, override("A6"), withhold("H"))
    await say(engine, rita, accept())
    assert await approved(engine, rita) == 1
    await deliver(engine, drop, clock)
    (second,) = drop.iterdir()
    assert second.name == first.name.replace(".csv", "_r2.csv")
    assert titres(second)["A"] == "5"
    assert "H" not in titres(second)


async def test_what_was_delivered_as_it_is_is_not_delivered_again(engine: AsyncEngine) -> None:
    found = await rule(engine)
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))
    await say(engine, rita, accept())
    assert await approved(engine, rita) == 1
    one = await dossier(engine)
    assert one.test_id is not None
    async with transaction(engine) as connection:
        assert await raise_one(connection, found, one.test_id, by=rita, now=NOON) is None
        assert await raise_one(connection, found, one.test_id, by=rita, now=NOON, again=True) is not None
    assert await states(engine) == [(1, "superseded"), (2, "pending")]


async def test_what_nobody_approved_makes_no_delivery(engine: AsyncEngine) -> None:
    found = await rule(engine)
    await read_plate(engine, wells=make_wells(6))
    one = await dossier(engine)
    assert one.test_id is not None
    async with transaction(engine) as connection:
        assert await raise_one(connection, found, one.test_id, by="anna", now=NOON) is None


async def test_a_run_that_was_changed_before_its_file_was_made_makes_none(engine: AsyncEngine, tmp_path: Path) -> None:
    await rule(engine)
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=make_wells(6))
    await say(engine, rita, accept())
    await approved(engine, rita)
    await say(engine, rita, override("A6"), run_id=RUN)
    await deliver(engine, tmp_path, Clock())
    assert await states(engine) == [(1, "failed")]
    assert not list(tmp_path.glob("*.csv"))

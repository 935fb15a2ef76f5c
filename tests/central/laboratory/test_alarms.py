"""What does not fit is said, once, to whom it concerns; and a worklist by command."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.__main__ import main
from central.audit.chain import COMMAND
from central.db import reading, transaction
from central.intake.ingest import ingest
from central.laboratory import alarms, importing
from central.laboratory.alarms import Alarm, Fit, list_alarms, misfits, raise_alarms
from central.laboratory.sheets import lines_of
from central.laboratory.states import PlateState
from central.laboratory.worklist import parse
from central.people.sites import EVERY_SITE, Sites
from central.tables import plates, sites
from tests.central.wire import enrol, make_delivery
from tests.make import NOON, make_code

pytestmark = pytest.mark.anyio
LIST = b"submission,test,plate,row,serum\n" + b"".join(b"S-1,NDV,1,%c,F%d\n" % (65 + at, at) for at in range(8))
READ = {"last_flowing": 6, "step_fit": 6}
UNREAD = {"last_flowing": None, "step_fit": None}


async def register(engine: AsyncEngine, content: bytes = LIST, site: str = "main") -> None:
    """What a worklist says."""
    wanted = parse(lines_of(content))
    await importing.put(engine, site, wanted, actor=COMMAND, origin="worklist", now=NOON)


async def raised(engine: AsyncEngine, sites_: Sites = EVERY_SITE) -> list[str]:
    """The kinds of open alarms, newest first."""
    async with reading(engine) as connection:
        return [alarm.kind for alarm in await list_alarms(connection, sites_)]


def test_a_run_that_fits_its_plate_says_nothing() -> None:
    plate = Fit("p", PlateState.PLATED, "hi-96")
    assert misfits("hi-96", {"A": READ, "B": READ}, plate, {"A", "B"}) == []
    assert misfits("mic-96", {"A": READ}, Fit("p", PlateState.REGISTERED, None), set()) == []


@pytest.mark.parametrize(
    ("state", "kind"),
    [(PlateState.VOID, "plate_void")]
    + [(state, "plate_approved") for state in (PlateState.APPROVED, PlateState.DELIVERED, PlateState.AMENDED)],
)
def test_a_run_of_a_plate_that_is_done_with_raises_an_alarm(state: PlateState, kind: str) -> None:
    assert [found for found, _ in misfits("hi-96", {"A": READ}, Fit("p", state, None), {"A"})] == [kind]


def test_rows_with_cells_and_rows_with_sera_are_compared() -> None:
    plate = Fit("p", PlateState.PLATED, None)
    ((kind, detail),) = misfits("hi-96", {"A": READ, "B": UNREAD, "C": READ}, plate, {"A", "B"})
    assert (kind, detail) == (
        "other_sera",
        "2 rows hold a serum, 2 were read with cells: nothing read in B; read without a serum: C",
    )


async def test_an_alarm_is_raised_once_until_it_is_resolved(engine: AsyncEngine) -> None:
    alarm = Alarm("main", "other_sera", "run", "r-1", "three, not two")
    async with transaction(engine) as connection:
        await raise_alarms(connection, [alarm, alarm], NOON)
        await raise_alarms(connection, [alarm], NOON)
        (row,) = await list_alarms(connection, EVERY_SITE)
        await alarms.resolve(connection, EVERY_SITE, row.number, reason="counted", actor=COMMAND, now=NOON)
        await raise_alarms(connection, [alarm], NOON)
        assert len(await list_alarms(connection, EVERY_SITE)) == 1
        assert len(await list_alarms(connection, EVERY_SITE, resolved=True)) == 2
        assert await list_alarms(connection, Sites.of(["other"])) == ()


async def test_ingest_says_what_does_not_fit_and_takes_every_run(engine: AsyncEngine) -> None:
    await enrol(engine)
    await register(engine)
    code = make_code("S-1")
    await ingest(engine, [make_delivery(1, code=code)], now=NOON)
    assert await raised(engine) == []
    async with transaction(engine) as connection:
        await connection.execute(update(plates).values(state="approved"))
    await ingest(engine, [make_delivery(2, code=code), make_delivery(3, code=code)], now=NOON)
    assert await raised(engine) == ["plate_approved", "plate_approved"]
    async with reading(engine) as connection:
        assert list(await connection.scalars(select(plates.c.state))) == ["amended"]


async def test_a_code_that_another_laboratory_planned_raises_an_alarm_here_alone(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        row = {"id": "north", "title": "North", "created_at": NOON, "revision": 1, "unregistered": "wait"}
        await connection.execute(insert(sites).values(row | {"four_eyes": False}))
    await register(engine, site="north")
    await enrol(engine)
    await ingest(engine, [make_delivery(1, code=make_code("S-1")), make_delivery(2)], now=NOON)
    assert await raised(engine, Sites.of(["main"])) == ["foreign_code"]
    assert await raised(engine, Sites.of(["north"])) == []


async def test_what_codes_register_by_themselves_is_nobodys_plan(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        row = {"id": "north", "title": "North", "created_at": NOON, "revision": 1, "unregistered": "register"}
        await connection.execute(insert(sites).values(row | {"four_eyes": False}))
    await register(engine, b"submission,test,plate\nS-2,NDV,1\n", site="north")
    await enrol(engine)
    await ingest(engine, [make_delivery(1, code=make_code("S-1"))], now=NOON)
    assert await raised(engine) == []


def test_a_worklist_is_one_command_and_says_first_what_it_would_do(tmp_path: Path, migrated_file: Path) -> None:
    (tmp_path / "central.db").write_bytes(migrated_file.read_bytes())
    (tmp_path / "list.csv").write_bytes(LIST)

    def run(*more: str) -> tuple[int, str]:
        found = CliRunner().invoke(main, ["worklist", *more, "--data-dir", str(tmp_path)])
        return found.exit_code, found.output

    file = str(tmp_path / "list.csv")
    tried = run(file, "--dry-run")
    assert tried == (0, "1 plate, 1 submission, 1 test would be registered, 0 filled in; 0 things there already\n")
    assert run(file)[0] == 0
    assert run(file) == (0, "nothing was registered, 0 filled in; 8 things there already\n")
    (tmp_path / "list.csv").write_bytes(LIST.replace(b"F7", b"F9"))
    code, said = run(file)
    assert (code, "row H holds F7, the file says F9" in said) == (1, True)
    (tmp_path / "list.csv").write_bytes(LIST.replace(b"F7", b"=F7"))
    assert run(file) == (
        1,
        "Error: line 9, serum: '=F7' (expected 1 to 64 letters, digits and . _ : / -, the first a letter or digit)\n",
    )
    assert run(file, "--site", "nowhere")[0] == 1

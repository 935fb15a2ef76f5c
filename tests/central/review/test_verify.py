"""Everything that is stored follows from calls and corrections: after anything people do, and not after fiddling."""

import random
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.assays.registry import add
from central.audit.chain import COMMAND, Actor
from central.db import reading, transaction
from central.intake.ingest import ingest
from central.people.sites import EVERY_SITE
from central.results.aggregate import summarise
from central.results.queries import submission_runs
from central.review.changes import StaleError, interpret
from central.review.corrections import Action, CorrectionError, Step, possible_calls
from central.review.signing import NotApprovableError
from central.review.verify import summary_runs, verify
from central.settings import Settings
from central.tables import corrections, plates, run_records, runs, signatures, submissions
from central.tables.frozen import thaw
from protocol.assay import Call
from tests.central.review.reviews import (
    REREAD,
    VOID,
    accept,
    dossier,
    doubtful,
    override,
    people,
    read_plate,
    report,
    say,
    sign,
    withdraw,
    withhold,
)
from tests.central.wire import enrol, make_delivery
from tests.make import HI, NOON, make_code, make_reading_id, make_well, make_wells, replace

pytestmark = pytest.mark.anyio

PLATES = 6
# For each of three examples on both databases: 1,200 in all.
STEPS = 200


async def differences(engine: AsyncEngine) -> list[str]:
    """The fields that do not follow."""
    return sorted({each.field.split(" ")[0] for each in (await verify(engine)).differences})


def random_step(chance: random.Random) -> Step:
    """Anything that may be said of a run, mostly of a well or a row."""
    well, row = chance.choice(HI.format.names()), chance.choice("ABCDEFGH")
    return chance.choices(
        [
            override(well, chance.choice(possible_calls(HI))),
            withdraw(well),
            withhold(row),
            report(row),
            accept(row),
            accept(),
            REREAD,
            VOID,
        ],
        [30, 8, 6, 6, 15, 15, 2, 8],
    )[0]


class Laboratory:
    """People who do anything at random to some plates; readings of them come in between."""

    def __init__(self, engine: AsyncEngine, chance: random.Random, reviewers: list[str]) -> None:
        """Nothing was read yet."""
        self.engine = engine
        self.chance = chance
        self.reviewers = reviewers
        self.read = 0
        self.done = {"read": 0, "said": 0, "void": 0, "signed": 0, "interpreted": 0}

    async def read_again(self) -> None:
        """Another reading of some plate."""
        self.read += 1
        wells = make_wells({row: self.chance.randrange(13) for row in "ABCDEFGH"})
        for well in self.chance.sample(HI.format.names(), self.chance.randrange(4)):
            wells[well] = make_well(self.chance.choice(["partial", "not_read", "flowing", "button"]))
        code = make_code(test=self.chance.choice(["NDV", "IBD"]), plate_number=str(self.chance.randrange(PLATES)))
        at = NOON + timedelta(seconds=self.read)
        await ingest(self.engine, [make_delivery(self.read, code=code, wells=wells)], now=at)
        self.done["read"] += 1

    async def interpret(self, run_id: str, who: str) -> None:
        """A run by the other version of its profile."""
        run = (await dossier(self.engine, run_id)).run
        version, actor = (1001 if run.assay.version == HI.version else HI.version), Actor("person", who)
        seen: dict[str, Any] = {"seen": run.revision, "sites": EVERY_SITE, "user_id": who, "actor": actor, "now": NOON}
        await interpret(self.engine, run_id, version, **seen)
        self.done["interpreted"] += 1

    async def something(self) -> None:
        """One thing that happens."""
        if self.read == 0 or self.chance.random() < 0.12:
            return await self.read_again()
        run_id, who = make_reading_id(self.chance.randint(1, self.read)), self.chance.choice(self.reviewers)
        try:
            dice = self.chance.random()
            if dice < 0.04:
                await self.interpret(run_id, who)
            elif dice < 0.24:
                await sign(self.engine, who, run_id)
                self.done["signed"] += 1
            else:
                step = random_step(self.chance)
                await say(self.engine, who, step, run_id=run_id)
                self.done["void" if step.action is Action.VOID else "said"] += 1
        except (CorrectionError, NotApprovableError, StaleError):
            pass
        return None


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_summary_is_what_verify_computes_after_any_reviews_voids_and_readings(
    engine: AsyncEngine, seed: int
) -> None:
    await enrol(engine)
    own = replace(HI, version=1001, inhibited=(Call.FLOWING, Call.PARTIAL))
    await add(engine, own, actor=COMMAND, now=NOON)
    laboratory = Laboratory(engine, random.Random(seed), list((await people(engine, "rita", "ruth")).values()))
    for step in range(1, STEPS + 1):
        await laboratory.something()
        if step % (STEPS // 4) == 0:
            found = await verify(engine)
            assert found.differences == ()
            async with reading(engine) as connection:
                submission_id = await connection.scalar(select(submissions.c.id))
                stored = await submission_runs(connection, "S-1001")
                computed = await summary_runs(connection, str(submission_id))
            for test in (None, "NDV", "IBD"):
                assert summarise("S-1001", test, stored) == summarise("S-1001", test, computed)
    assert min(laboratory.done.values()) > 0, laboratory.done


# Each makes one thing untrue that was true.
FIDDLES = {
    "worst_grade": update(run_records).values(worst_grade="high"),
    "flagged": update(run_records).values(flagged=True),
    "accepted": update(run_records).values(accepted_at=None),
    "revised": update(run_records).values(revised=None),
    "approved": update(run_records).values(approved_at=None),
    "revision": update(run_records).values(revision=1),
    "voided": update(run_records).values(voided_at=NOON),
    "state": update(plates).values(state="plated"),
    "current": update(run_records).values(voided_at=NOON),
    "summary": update(run_records).values(voided_at=NOON),
    "digest": update(runs).values(digest="0" * 64),
    "endpoints": update(runs).values(endpoints={}),
    "code": update(runs).values(submission="S-9"),
    "machine_call": update(corrections).where(corrections.c.target == "A6").values(machine_call="button"),
    "signature": update(signatures).values(record_sha256="0" * 64),
    "document": update(runs).values(document=b"nothing"),
    "record": delete(run_records),
}


@pytest.mark.parametrize("field", FIDDLES)
async def test_what_is_changed_behind_the_triggers_is_named(engine: AsyncEngine, field: str) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=doubtful())
    await say(engine, rita, override("A6"), accept())
    await sign(engine, rita)
    assert await differences(engine) == []
    async with transaction(engine) as connection:
        await connection.run_sync(thaw)
        await connection.execute(FIDDLES[field])
    assert field in await differences(engine)


async def test_the_command_says_what_differs(engine: AsyncEngine, settings: Settings, tmp_path: Path) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("the command finds the database by its folder here")
    await read_plate(engine)
    command = [sys.executable, "-m", "central", "verify", "--data-dir", str(tmp_path)]
    good = await anyio.run_process(command, check=False)
    assert (good.returncode, b"1 runs" in good.stdout, b"0 differences" in good.stdout) == (0, True, True)
    async with transaction(engine) as connection:
        await connection.execute(FIDDLES["worst_grade"].values(worst_grade="low"))
    bad = await anyio.run_process(command, check=False)
    assert (bad.returncode, b'worst_grade is "low", follows "high"' in bad.stdout) == (1, True)

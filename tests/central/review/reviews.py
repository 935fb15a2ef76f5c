"""Runs to review, reviewers, and what they say of runs: for tests of review, approval and verify."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import Actor
from central.db import reading, transaction
from central.intake.ingest import ingest
from central.people.sites import EVERY_SITE
from central.people.users import add_user
from central.review import changes, signing
from central.review.approval import Meaning
from central.review.corrections import Action, Step
from central.review.dossier import Dossier, get_dossier
from central.tables import plates, sites
from protocol.assay import Call
from tests.central.web import PASSWORD
from tests.central.wire import enrol, make_delivery
from tests.make import NOON, make_reading_id, make_well, make_wells

RUN = make_reading_id(1)


def doubtful(endpoint: int = 6, unread: str = "B7") -> dict[str, Any]:
    """Wells of a plate of which one, just beyond its row's step, was not read: that row is low."""
    return make_wells(endpoint) | {unread: make_well("not_read")}


async def people(engine: AsyncEngine, *names: str) -> dict[str, str]:
    """Reviewers of these names: name → id."""
    made = {}
    for name in names or ("rita",):
        made[name] = (await add_user(engine, name=name, password=PASSWORD, role="reviewer", now=NOON)).id
    return made


async def read_plate(engine: AsyncEngine, number: int = 1, *, enrolled: bool = False, **fields: Any) -> str:
    """Reading `number` of a device, accepted; the run's id."""
    if not enrolled:
        await enrol(engine)
    outcome = await ingest(engine, [make_delivery(number, **fields)], now=NOON + timedelta(seconds=number))
    assert len(outcome.new) == 1, outcome
    return outcome.new[0].id


async def say(
    engine: AsyncEngine, user_id: str, *steps: Step, run_id: str = RUN, seen: int | None = None, now: datetime = NOON
) -> Dossier:
    """These corrections by this person, of the run as it is (or as it was at `seen`)."""
    revision = (await dossier(engine, run_id)).run.revision if seen is None else seen
    actor = Actor("person", user_id)
    return await changes.correct(
        engine, run_id, steps, seen=revision, sites=EVERY_SITE, user_id=user_id, actor=actor, now=now
    )


async def sign(engine: AsyncEngine, user_id: str, *run_ids: str, meaning: Meaning = "approved", **options: Any) -> None:
    """A signature of these runs as they are."""
    seen = {run_id: (await dossier(engine, run_id)).run.revision for run_id in run_ids or (RUN,)}
    await signing.sign(
        engine,
        options.pop("seen", seen),
        meaning,
        proved="password",
        sites=EVERY_SITE,
        user_id=user_id,
        actor=Actor("person", user_id),
        now=NOON,
        **options,
    )


async def dossier(engine: AsyncEngine, run_id: str = RUN) -> Dossier:
    """Everything of a run."""
    async with reading(engine) as connection:
        found = await get_dossier(connection, run_id)
    assert found is not None
    return found


async def plate_state(engine: AsyncEngine, number: str = "1") -> str:
    """Where a plate is."""
    async with reading(engine) as connection:
        return str(await connection.scalar(select(plates.c.state).where(plates.c.number == number)))


async def site(engine: AsyncEngine, **values: Any) -> None:
    """Change what the site says."""
    async with transaction(engine) as connection:
        await connection.execute(update(sites).values(**values))


def override(well: str, call: Call = Call.BUTTON, reason_code: str = "misread", reason: str | None = None) -> Step:
    """Take a well for this call."""
    return Step(Action.OVERRIDE, well, call, reason_code, reason)


def withdraw(well: str) -> Step:
    """The machine's call again."""
    return Step(Action.WITHDRAW, well, None, "second_look")


def accept(row: str | None = None) -> Step:
    """Nothing to say."""
    return Step(Action.ACCEPT, row, None, "reviewed")


def withhold(row: str) -> Step:
    """Not reportable."""
    return Step(Action.WITHHOLD, row, None, "serum")


def report(row: str) -> Step:
    """Reportable again."""
    return Step(Action.REPORT, row, None, "second_look")


REREAD = Step(Action.REREAD, None, None, "picture")
VOID = Step(Action.VOID, None, None, "not_settled")

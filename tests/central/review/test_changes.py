"""Corrections, approval and signatures in the database: caches, plates, concurrency, the audit trail."""

import asyncio

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import Actor
from central.db import reading, transaction
from central.people.sites import EVERY_SITE, Sites
from central.results.aggregate import summarise
from central.results.queries import submission_runs
from central.review import changes
from central.review.changes import StaleError, UnknownRunError
from central.review.corrections import CorrectionError
from central.review.queue import Filters, list_queue
from central.review.signing import NotApprovableError
from central.tables import alarms, audit_entries, corrections, run_records, runs, signatures
from tests.central.review.reviews import (
    REREAD,
    RUN,
    VOID,
    accept,
    dossier,
    doubtful,
    override,
    people,
    plate_state,
    read_plate,
    say,
    sign,
    site,
    withhold,
)
from tests.make import NOON, make_code, make_reading_id, make_wells

pytestmark = pytest.mark.anyio


async def queue(engine: AsyncEngine, **filters: str) -> list[str]:
    """The ids of what waits."""
    async with reading(engine) as connection:
        page = await list_queue(connection, EVERY_SITE, Filters(**filters))
    return [run.id for run in page.runs]


async def test_a_correction_changes_the_summary_and_leaves_the_run_alone(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine)
    async with reading(engine) as connection:
        stored = (await connection.execute(select(runs))).one()
    await say(engine, rita, override("A6"), withhold("H"))
    async with reading(engine) as connection:
        found = summarise("S-1001", None, await submission_runs(connection, "S-1001"))
        assert (await connection.execute(select(runs))).one() == stored
    assert (found.sera, found.unread, found.not_reportable) == (7, 0, 1)
    assert (found.distribution[5], found.distribution[6]) == (1, 6)


async def test_one_of_two_reviewers_is_told_what_the_other_said(engine: AsyncEngine) -> None:
    both = await people(engine, "rita", "ruth")
    await read_plate(engine)
    answers = await asyncio.gather(
        say(engine, both["rita"], override("A6"), seen=1),
        say(engine, both["ruth"], override("A6", reason_code="artefact"), seen=1),
        return_exceptions=True,
    )
    stale = [answer for answer in answers if isinstance(answer, StaleError)]
    assert len(stale) == 1
    assert [(each.target, each.revision) for each in stale[0].since] == [("A6", 2)]
    assert (await dossier(engine)).run.revision == 2


async def test_what_cannot_be_said_leaves_no_trace(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine)
    with pytest.raises(CorrectionError):
        await say(engine, rita, override("A6"), override("Z9"))
    async with reading(engine) as connection:
        assert (await connection.execute(select(corrections))).first() is None
    assert (await dossier(engine)).run.revision == 1


async def test_a_run_of_another_site_is_not_there(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine)
    with pytest.raises(UnknownRunError):
        await changes.correct(
            engine, RUN, [accept()], seen=1, sites=Sites.of(["elsewhere"]), user_id=rita,
            actor=Actor("person", rita), now=NOON,
        )  # fmt: skip


async def test_every_correction_is_in_the_audit_trail_with_old_new_and_why(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine)
    await say(engine, rita, override("A6", reason_code="other", reason="a hair over it"))
    async with reading(engine) as connection:
        query = select(audit_entries).where(audit_entries.c.action == "run.override")
        (entry,) = (await connection.execute(query)).all()
    assert (entry.actor_id, entry.object_id, entry.reason) == (rita, RUN, "a hair over it")
    assert '"call":"flowing"' in entry.old
    assert '"call":"button"' in entry.new


async def test_the_queue_holds_doubtful_runs_until_they_are_accepted(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine, 1, wells=doubtful())
    await read_plate(engine, 2, enrolled=True, code=make_code(plate_number="2"))
    await read_plate(engine, 3, enrolled=True, code=make_code(plate_number="3"), wells=doubtful())
    assert await queue(engine) == [RUN, make_reading_id(3)]
    assert await queue(engine, profile="mic-96") == []
    await say(engine, rita, accept("B"))
    assert await queue(engine) == [make_reading_id(3)]
    await say(engine, rita, override("B6"))
    assert await queue(engine) == [RUN, make_reading_id(3)]


async def test_a_voided_run_frees_the_plate_for_the_one_before(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine, 1, wells=make_wells(3))
    second = await read_plate(engine, 2, enrolled=True)
    await say(engine, rita, VOID, run_id=second)
    assert (await dossier(engine)).run.current
    assert await plate_state(engine) == "read"
    await say(engine, rita, VOID)
    assert await plate_state(engine) == "plated"
    async with reading(engine) as connection:
        found = summarise("S-1001", None, await submission_runs(connection, "S-1001"))
    assert (found.plates, found.sera) == (0, 0)
    with pytest.raises(CorrectionError, match="for ever"):
        await say(engine, rita, accept())


async def test_a_wish_for_another_reading_raises_an_alarm_and_holds_approval_up(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine)
    await say(engine, rita, REREAD)
    async with reading(engine) as connection:
        assert (await connection.execute(select(alarms.c.kind))).scalars().all() == ["reread"]
    with pytest.raises(NotApprovableError, match="a new reading"):
        await sign(engine, rita)


async def test_a_run_is_approved_when_nothing_waits_and_amended_when_it_changes(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=doubtful())
    with pytest.raises(NotApprovableError, match="row B"):
        await sign(engine, rita)
    await say(engine, rita, accept("B"))
    assert await plate_state(engine) == "in_review"
    await sign(engine, rita)
    approved = await dossier(engine)
    assert (await plate_state(engine), approved.holds(approved.signatures[0])) == ("approved", True)
    await say(engine, rita, override("A6"), accept("B"))
    amended = await dossier(engine)
    assert (await plate_state(engine), amended.holds(amended.signatures[0])) == ("amended", False)
    assert (amended.signatures[0].revision, amended.run.approved_at) == (approved.run.revision, None)
    await say(engine, rita, accept())
    await sign(engine, rita)
    assert await plate_state(engine) == "approved"


async def test_four_eyes_where_the_site_says_so(engine: AsyncEngine) -> None:
    both = await people(engine, "rita", "ruth")
    await site(engine, four_eyes=True)
    await read_plate(engine, wells=doubtful())
    await say(engine, both["rita"], accept("B"))
    with pytest.raises(NotApprovableError, match="four-eyes"):
        await sign(engine, both["rita"])
    await sign(engine, both["ruth"])
    assert await plate_state(engine) == "approved"


async def test_a_plate_whose_controls_failed_is_not_approved(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    wells = make_wells() | {"C12": make_wells()["A7"]}
    await read_plate(engine, profile="hi-96-serum-control", wells=wells)
    await say(engine, rita, accept())
    with pytest.raises(NotApprovableError, match="serum control"):
        await sign(engine, rita)


async def test_a_test_is_approved_whole_or_not_at_all(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine, 1)
    second = await read_plate(engine, 2, enrolled=True, code=make_code(plate_number="2"), wells=doubtful())
    test_id = (await dossier(engine)).test_id
    with pytest.raises(NotApprovableError, match="not named"):
        await sign(engine, rita, RUN, test_id=test_id)
    with pytest.raises(NotApprovableError, match="row B"):
        await sign(engine, rita, RUN, second, test_id=test_id)
    assert (await plate_state(engine, "1"), await plate_state(engine, "2")) == ("read", "read")
    await say(engine, rita, accept(), run_id=second)
    await sign(engine, rita, RUN, second, test_id=test_id)
    assert (await plate_state(engine, "1"), await plate_state(engine, "2")) == ("approved", "approved")


async def test_who_saw_an_older_revision_signs_nothing(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine)
    await say(engine, rita, override("A6"), accept("B"))
    with pytest.raises(StaleError):
        await sign(engine, rita, seen={RUN: 1})
    async with reading(engine) as connection:
        assert (await connection.execute(select(signatures))).first() is None


async def test_a_reading_after_approval_amends_the_plate(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine)
    await sign(engine, rita)
    again = await read_plate(engine, 2, enrolled=True)
    assert await plate_state(engine) == "amended"
    await sign(engine, rita, again)
    assert await plate_state(engine) == "approved"


async def test_what_was_said_is_never_changed(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine)
    await say(engine, rita, override("A6"))
    for statement in (corrections.delete(), corrections.update().values(call="flowing"), signatures.delete()):
        if statement.table is signatures:
            await say(engine, rita, accept())
            await sign(engine, rita)
        with pytest.raises(DBAPIError, match="never changed"):
            async with transaction(engine) as connection:
                await connection.execute(statement)


async def test_a_record_says_who_accepted(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine, wells=doubtful())
    await say(engine, rita, accept("B"))
    async with reading(engine) as connection:
        row = (await connection.execute(select(run_records))).one()
    assert (row.accepted_by, row.accepted_at, row.revision) == (rita, NOON, 2)

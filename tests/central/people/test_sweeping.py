"""What is over goes, what goes on stays, and the trail says how many went."""

from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.db import reading, transaction
from central.people.auth import People
from central.people.callers import NotSignedInError, Origin
from central.people.links import make_link
from central.people.sweeping import sweep
from central.people.tokens import TokenKey
from central.seal import Seal
from central.settings import Settings
from central.tables import audit_entries, invitations, refresh_tokens, sessions, used_states
from tests.central.web import PASSWORD, Clock, people

pytestmark = pytest.mark.anyio
FROM = Origin("192.0.2.7")


async def many(engine: AsyncEngine) -> list[int]:
    """How many sessions, refresh tokens, links and answers there are."""
    async with reading(engine) as connection:
        tables = (sessions, refresh_tokens, invitations, used_states)
        return [await connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


async def test_what_is_over_goes_in_its_time_and_what_goes_on_stays(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine, "viewer")
    clock = Clock()
    who = People(engine, TokenKey.load(settings.data_dir), clock, Seal.load(settings.data_dir))
    page = await who.sign_in(name="viewer", password=PASSWORD, kind="pages", origin=FROM)
    program = await who.sign_in(name="viewer", password=PASSWORD, origin=FROM)
    await make_link(engine, page.user_id, actor=COMMAND, now=clock())
    async with transaction(engine) as connection:
        row = {"state_sha256": "0" * 64, "expires_at": clock() + timedelta(minutes=10)}
        await connection.execute(insert(used_states).values(row))
    assert await sweep(engine, clock()) == {"ran_out": 0, "sessions": 0, "links": 0, "answers": 0}
    clock.tick(13 * 3600)  # a page that nobody used for twelve hours is over; a program is not
    assert await sweep(engine, clock()) == {"ran_out": 1, "sessions": 0, "links": 0, "answers": 1}
    again = await who.refresh(program.refresh_token, FROM)
    with pytest.raises(NotSignedInError):
        await who.of_token(page.token, "pages")
    clock.tick(40 * 86400)
    assert await sweep(engine, clock()) == {"ran_out": 1, "sessions": 0, "links": 1, "answers": 0}
    with pytest.raises(NotSignedInError):
        await who.refresh(again.refresh_token, FROM)
    clock.tick(91 * 86400)
    assert await sweep(engine, clock()) == {"ran_out": 0, "sessions": 2, "links": 0, "answers": 0}
    assert await many(engine) == [0, 0, 0, 0]
    async with reading(engine) as connection:
        told = select(func.count()).where(audit_entries.c.action == "sessions.sweep")
        assert await connection.scalar(told) == 3

"""Refresh tokens: one successor for however many ask at once, a lost answer forgiven once, a stolen one noticed."""

from pathlib import Path

import anyio
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading
from central.people.auth import People, SignedIn
from central.people.callers import NotSignedInError, Origin
from central.people.tokens import TokenKey
from central.people.users import add_user
from central.seal import Seal
from central.tables import alarms, audit_entries, refresh_tokens
from tests.central.web import PASSWORD, Clock
from tests.make import NOON

pytestmark = pytest.mark.anyio

HERE = Origin("10.0.0.9", "a test")


@pytest.fixture
def clock() -> Clock:
    """Noon, until a test moves it."""
    return Clock()


@pytest.fixture
async def people(engine: AsyncEngine, tmp_path: Path, clock: Clock) -> People:
    """Sign-in, and Anna."""
    await add_user(engine, name="anna", password=PASSWORD, role="viewer", now=NOON)
    return People(engine, TokenKey.load(tmp_path), clock, Seal.load(tmp_path))


async def signed_in(people: People) -> SignedIn:
    """Anna's session."""
    return await people.sign_in(name="anna", password=PASSWORD, origin=HERE)


async def refreshed(people: People, token: str) -> SignedIn | None:
    """The successor, or None where it is refused."""
    try:
        return await people.refresh(token, HERE)
    except NotSignedInError:
        return None


async def test_each_token_makes_the_next_and_the_session_goes_on(people: People, clock: Clock) -> None:
    first = await signed_in(people)
    last = first
    for _ in range(5):
        clock.tick(900)
        with pytest.raises(NotSignedInError):
            await people.of_token(last.token, "api")
        last = await people.refresh(last.refresh_token, HERE)
        assert (await people.of_token(last.token, "api")).session_id == first.session_id


async def test_a_hundred_refreshes_at_once_leave_one_living_successor(engine: AsyncEngine, people: People) -> None:
    token = (await signed_in(people)).refresh_token
    answers: list[SignedIn | None] = []

    async def ask() -> None:
        answers.append(await refreshed(people, token))

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(ask)
    async with reading(engine) as connection:
        unused = select(func.count()).select_from(refresh_tokens).where(refresh_tokens.c.used_at.is_(None))
        assert await connection.scalar(unused) == 1
    given = [one for one in answers if one is not None]
    assert len(given) == 2  # the first, and what was taken for a lost answer's retry
    assert (await refreshed(people, given[1].refresh_token)) is not None


async def test_a_lost_answer_is_forgiven_once_and_only_at_once(people: People, clock: Clock) -> None:
    token = (await signed_in(people)).refresh_token
    await people.refresh(token, HERE)
    clock.tick(9)
    retried = await people.refresh(token, HERE)
    assert await refreshed(people, token) is None
    assert (await people.of_token(retried.token, "api")).name == "anna"
    again = (await people.refresh(retried.refresh_token, HERE)).refresh_token
    assert again
    clock.tick(11)
    assert await refreshed(people, retried.refresh_token) is None
    assert await refreshed(people, again) is None  # that was a thief's, or the thief had it: nobody goes on


async def test_a_stolen_token_ends_the_session_and_raises_an_alarm(
    engine: AsyncEngine, people: People, clock: Clock
) -> None:
    owner = await signed_in(people)
    thief = await people.refresh(owner.refresh_token, Origin("10.6.6.6"))
    clock.tick(60)
    assert await refreshed(people, owner.refresh_token) is None
    with pytest.raises(NotSignedInError, match="signed out"):
        await people.of_token(thief.token, "api")
    assert await refreshed(people, thief.refresh_token) is None
    async with reading(engine) as connection:
        kinds = list(await connection.scalars(select(alarms.c.kind)))
        actions = list(await connection.scalars(select(audit_entries.c.action)))
    assert kinds == ["token_reused"]
    assert actions.count("session.reused") == 1


async def test_a_thief_who_retries_within_the_window_is_found_out_by_the_owners_next_refresh(
    people: People, clock: Clock
) -> None:
    token = (await signed_in(people)).refresh_token
    owner = await people.refresh(token, HERE)
    clock.tick(2)
    thief = await people.refresh(token, Origin("10.6.6.6"))
    clock.tick(600)
    assert await refreshed(people, owner.refresh_token) is None
    assert await refreshed(people, thief.refresh_token) is None


@pytest.mark.parametrize("token", ["", "x", "' OR 1=1 --", "a" * 100, "\x00"])
async def test_a_token_that_is_none_is_refused(people: People, token: str) -> None:
    assert await refreshed(people, token) is None


async def test_only_hashes_are_kept(engine: AsyncEngine, people: People) -> None:
    token = (await signed_in(people)).refresh_token
    async with reading(engine) as connection:
        assert token not in str((await connection.execute(select(refresh_tokens))).all())
    assert len(token) >= 43  # 256 bits

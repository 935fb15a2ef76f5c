"""Signing in and out: what a try costs, where somebody is signed in, what ends it."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.db import reading
from central.people import passwords
from central.people.auth import People, SignedIn
from central.people.callers import NotSignedInError, Origin, Person, TooManyTriesError
from central.people.sessions import live_sessions
from central.people.throttle import FREE_TRIES
from central.people.tokens import TokenKey
from central.people.users import UserChange, add_user, change_password, change_user
from central.seal import Seal
from central.tables import audit_entries, sessions
from tests.central.web import PASSWORD, Clock
from tests.make import NOON

pytestmark = pytest.mark.anyio

HERE = Origin("10.0.0.9", "a test")


@pytest.fixture
def clock() -> Clock:
    """Noon, until a test moves it."""
    return Clock()


@pytest.fixture
def people(engine: AsyncEngine, tmp_path: Path, clock: Clock) -> People:
    """Sign-in on this test's database."""
    return People(engine, TokenKey.load(tmp_path), clock, Seal.load(tmp_path))


async def anna(engine: AsyncEngine) -> Person:
    """Somebody who may sign in."""
    return await add_user(engine, name="anna", password=PASSWORD, role="viewer", now=NOON)


async def sign_in(people: People, password: str = PASSWORD, **more: object) -> SignedIn:
    """As Anna."""
    return await people.sign_in(name="anna", password=password, **({"origin": HERE} | more))  # type: ignore[arg-type]


async def test_wrong_passwords_delay_and_are_not_looked_at_meanwhile(
    engine: AsyncEngine, people: People, clock: Clock
) -> None:
    await anna(engine)
    for _ in range(FREE_TRIES):
        with pytest.raises(NotSignedInError, match="name or password is wrong"):
            await sign_in(people, "wrong one")
    with pytest.raises(TooManyTriesError):
        await sign_in(people)
    clock.tick(1.5)
    assert (await sign_in(people)).token


async def test_of_fifty_guesses_at_once_three_are_looked_at(engine: AsyncEngine, people: People) -> None:
    await anna(engine)
    refused: list[type[Exception]] = []

    async def guess(number: int) -> None:
        try:
            await sign_in(people, f"guess number {number}")
        except (NotSignedInError, TooManyTriesError) as error:
            refused.append(type(error))

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(guess, number)
    assert refused.count(NotSignedInError) == FREE_TRIES
    assert refused.count(TooManyTriesError) == 50 - FREE_TRIES


async def test_an_address_stays_known_when_central_starts_again(
    engine: AsyncEngine, people: People, tmp_path: Path, clock: Clock
) -> None:
    await anna(engine)
    await sign_in(people, origin=Origin("10.0.0.1"))
    again = People(engine, TokenKey.load(tmp_path), clock, Seal.load(tmp_path))
    for number in range(40):
        with pytest.raises((NotSignedInError, TooManyTriesError)):
            await sign_in(again, "wrong one", origin=Origin(f"10.6.6.{number}"))
    with pytest.raises(TooManyTriesError):
        await sign_in(again, origin=Origin("10.7.7.7"))
    assert (await sign_in(again, origin=Origin("10.0.0.1"))).token


@pytest.mark.parametrize("name", ["nobody", "\x00", "x" * 3000, "' OR 1=1 --"])
async def test_an_unknown_name_is_answered_like_a_wrong_password(people: People, name: str) -> None:
    with pytest.raises(NotSignedInError, match="name or password is wrong"):
        await people.sign_in(name=name, password=PASSWORD, origin=HERE)


async def test_signing_out_ends_this_session_and_no_other(engine: AsyncEngine, people: People) -> None:
    await anna(engine)
    first, second = await sign_in(people), await sign_in(people)
    await people.sign_out(await people.of_token(first.token, "api"), COMMAND)
    with pytest.raises(NotSignedInError, match="signed out"):
        await people.of_token(first.token, "api")
    with pytest.raises(NotSignedInError, match="refresh token"):
        await people.refresh(first.refresh_token, HERE)
    assert (await people.of_token(second.token, "api")).session_id == second.session_id


async def test_sessions_are_listed_and_ended_one_by_one_or_all(engine: AsyncEngine, people: People) -> None:
    person = await anna(engine)
    signed_in = [await sign_in(people, kind=kind) for kind in ("api", "pages", "api")]
    assert await people.end_sessions(person.id, COMMAND, signed_in[0].session_id)
    async with reading(engine) as connection:
        left = await live_sessions(connection, person.id, NOON)
    assert {one.id for one in left} == {one.session_id for one in signed_in[1:]}
    assert {one.kind for one in left} == {"api", "pages"}
    assert await people.end_sessions(person.id, COMMAND)
    assert not await people.end_sessions(person.id, COMMAND)


async def test_nobody_ends_a_session_of_somebody_else(engine: AsyncEngine, people: People) -> None:
    await anna(engine)
    berta = await add_user(engine, name="berta", password=PASSWORD, role="viewer", now=NOON)
    signed_in = await sign_in(people)
    assert not await people.end_sessions(berta.id, COMMAND, signed_in.session_id)
    assert (await people.of_token(signed_in.token, "api")).name == "anna"


async def test_a_page_that_nobody_used_for_twelve_hours_is_signed_out(
    engine: AsyncEngine, people: People, clock: Clock
) -> None:
    await anna(engine)
    used, unused = [await sign_in(people, kind="pages") for _ in range(2)]
    for _ in range(12):
        clock.tick(3600)
        await people.of_token(used.token, "pages")
    with pytest.raises(NotSignedInError, match="expired"):
        await people.of_token(unused.token, "pages")
    for _ in range(13):
        clock.tick(11.9 * 3600)
        await people.of_token(used.token, "pages")
    clock.tick(6 * 3600)  # used or not: seven days
    with pytest.raises(NotSignedInError):
        await people.of_token(used.token, "pages")


async def test_that_a_session_was_used_is_written_once_a_minute(
    engine: AsyncEngine, people: People, clock: Clock
) -> None:
    await anna(engine)
    signed_in = await sign_in(people)
    seen = []
    for _ in range(5):
        clock.tick(25)
        await people.of_token(signed_in.token, "api")
        async with reading(engine) as connection:
            seen.append(await connection.scalar(select(sessions.c.last_seen_at)))
    assert [(at - NOON).total_seconds() for at in seen if at is not None] == [0, 0, 75, 75, 75]


@pytest.mark.parametrize("change", ["password", "disabled"])
async def test_a_sign_in_whose_password_was_changed_while_it_was_compared_begins_nothing(
    engine: AsyncEngine, people: People, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await anna(engine)
    hasher, compared, changed = passwords._hasher, threading.Event(), threading.Event()

    def verify(hashed: str, password: str) -> bool:
        good = hasher.verify(hashed, password)
        compared.set()
        assert changed.wait(60)
        return good

    monkeypatch.setattr(passwords, "_hasher", SimpleNamespace(verify=verify, hash=hasher.hash))
    signing_in = asyncio.create_task(sign_in(people))
    assert await anyio.to_thread.run_sync(compared.wait, 60)
    if change == "password":
        await change_password(engine, person, f"{PASSWORD}, changed", actor=COMMAND, now=NOON)
    else:
        await change_user(engine, person.id, UserChange(disabled=True), actor=COMMAND, now=NOON)
    changed.set()
    with pytest.raises(NotSignedInError, match="changed at this moment"):
        await signing_in


@pytest.mark.parametrize("change", [UserChange(role="operator"), UserChange(disabled=True)])
async def test_a_change_of_what_somebody_may_do_ends_every_sign_in(
    engine: AsyncEngine, people: People, change: UserChange
) -> None:
    person = await anna(engine)
    signed_in = [await sign_in(people), await sign_in(people, kind="pages")]
    await change_user(engine, person.id, change, actor=COMMAND, now=NOON)
    for one, kind in zip(signed_in, ("api", "pages"), strict=True):
        with pytest.raises(NotSignedInError, match="signed out"):
            await people.of_token(one.token, kind)  # type: ignore[arg-type]


async def test_the_trail_says_who_signed_in_and_never_what_was_typed(engine: AsyncEngine, people: People) -> None:
    person = await anna(engine)
    await sign_in(people)
    for name, password in (("anna", "wrong one"), (PASSWORD[:20], "wrong one")):
        with pytest.raises(NotSignedInError):
            await people.sign_in(name=name, password=password, origin=HERE)
    async with reading(engine) as connection:
        rows = (await connection.execute(select(audit_entries).order_by(audit_entries.c.number))).all()
    assert [(row.action, row.object_id) for row in rows] == [
        ("user.add", person.id),
        ("user.sign_in", person.id),
        ("user.sign_in_failed", person.id),
        ("user.sign_in_failed", "unknown"),
    ]
    assert all("anna" not in str(row) and PASSWORD[:20] not in str(row) and "wrong one" not in str(row) for row in rows)


@pytest.mark.parametrize("name", ["anna", "nobody", "invited", "shut-out", "no name at all"])
async def test_every_name_costs_one_comparison_and_the_same_of_each_thing(
    engine: AsyncEngine, people: People, name: str, costly_passwords: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: a busy machine's times say nothing. argon2 takes as long for `None` as for a hash."""
    await anna(engine)
    await add_user(engine, name="invited", password=None, role="viewer", now=NOON)
    gone = await add_user(engine, name="shut-out", password=PASSWORD, role="viewer", now=NOON)
    await change_user(engine, gone.id, UserChange(disabled=True), actor=COMMAND, now=NOON)
    passwords_hasher, compared = passwords._hasher, []

    def verify(hashed: str, password: str) -> bool:
        compared.append(hashed.rsplit("$", 2)[0])
        return passwords_hasher.verify(hashed, password)

    monkeypatch.setattr(passwords, "_hasher", SimpleNamespace(verify=verify))
    with pytest.raises(NotSignedInError, match="name or password is wrong"):
        await people.sign_in(name=name, password="not this one at all", origin=HERE)
    assert compared == ["$argon2id$v=19$m=47104,t=1,p=1"]

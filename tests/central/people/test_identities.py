"""Who a person is elsewhere: one for one, whoever is first, on both databases."""

import asyncio

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.db import reading
from central.people.callers import Origin
from central.people.flow import begin, opened, sealed, use_up
from central.people.id_token import Identity
from central.people.identities import NotLinkedError, identities_of, link_by_hand, unlink, whom
from central.people.links import LinkError, make_link, use_link
from central.people.users import UnknownUserError, add_user
from central.seal import Seal
from central.tables import audit_entries, identities
from tests.central.web import PASSWORD
from tests.make import NOON

pytestmark = pytest.mark.anyio
FROM = Origin("192.0.2.7")
ISSUER = "https://login.lab.example"
ANNA = Identity(ISSUER, "a-17", "anna@lab.example")


async def added(engine: AsyncEngine, name: str = "anna", email: str | None = "anna@lab.example") -> str:
    """Somebody whom an administrator made."""
    return (await add_user(engine, name=name, password=None, role="viewer", email=email, now=NOON)).id


async def of(engine: AsyncEngine, identity: Identity, link: str = "") -> str:
    """Whose identity it is."""
    return str((await whom(engine, identity, link=link, origin=FROM, now=NOON)).id)


async def test_of_many_who_come_at_once_for_the_first_time_all_are_one(engine: AsyncEngine) -> None:
    user_id = await added(engine)
    found = await asyncio.gather(*(of(engine, ANNA) for _ in range(6)), return_exceptions=True)
    assert user_id in found
    assert {type(each) for each in found} <= {str, NotLinkedError}
    assert await of(engine, ANNA) == user_id
    async with reading(engine) as connection:
        assert len((await connection.execute(select(identities))).all()) == 1


async def test_a_link_of_an_administrator_is_used_up_by_one(engine: AsyncEngine) -> None:
    user_id = await added(engine, email=None)
    link = await make_link(engine, user_id, actor=COMMAND, now=NOON)
    nobody = [Identity(ISSUER, f"s-{number}", None) for number in range(6)]
    found = await asyncio.gather(*(of(engine, each, link.code) for each in nobody), return_exceptions=True)
    refused = [each for each in found if isinstance(each, NotLinkedError | LinkError)]
    assert (found.count(user_id), len(refused)) == (1, 5)


async def test_an_administrator_links_by_hand_once_and_unlinks(engine: AsyncEngine) -> None:
    anna, bert = await added(engine), await added(engine, "bert", None)
    hand = {"actor": COMMAND, "now": NOON, "reason": "seen there"}
    await link_by_hand(engine, bert, ISSUER, "b-18", **hand)  # type: ignore[arg-type]
    for user_id, subject in ((bert, "b-19"), (anna, "b-18")):
        with pytest.raises(NotLinkedError):
            await link_by_hand(engine, user_id, ISSUER, subject, **hand)  # type: ignore[arg-type]
    with pytest.raises(UnknownUserError):
        await link_by_hand(engine, "nobody", ISSUER, "c", **hand)  # type: ignore[arg-type]
    assert await of(engine, Identity(ISSUER, "b-18", None)) == bert
    async with reading(engine) as connection:
        assert [each.subject for each in await identities_of(connection, bert)] == ["b-18"]
    assert await unlink(engine, bert, actor=COMMAND, now=NOON, reason="left")
    assert not await unlink(engine, bert, actor=COMMAND, now=NOON)
    with pytest.raises(NotLinkedError):
        await of(engine, Identity(ISSUER, "b-18", None))
    async with reading(engine) as connection:
        query = select(audit_entries.c.action, audit_entries.c.new, audit_entries.c.old, audit_entries.c.reason)
        told = [tuple(row) for row in await connection.execute(query.where(audit_entries.c.action.like("user.%link")))]
    assert [each[0] for each in told] == ["user.link", "user.unlink"]
    assert "b-18" not in str(told)


async def test_who_was_unlinked_is_not_linked_again_by_an_address(engine: AsyncEngine) -> None:
    user_id = await added(engine)
    assert await of(engine, ANNA) == user_id
    assert await unlink(engine, user_id, actor=COMMAND, now=NOON, reason="not hers any more")
    for identity in (ANNA, Identity(ISSUER, "b-18", ANNA.email)):
        with pytest.raises(NotLinkedError, match="unlinked"):
            await of(engine, identity)
    link = await make_link(engine, user_id, actor=COMMAND, now=NOON)
    assert await of(engine, ANNA, link.code) == user_id


async def test_a_link_by_which_somebody_was_linked_makes_their_others_void(engine: AsyncEngine) -> None:
    user_id = await added(engine)
    used, other = [await make_link(engine, user_id, actor=COMMAND, now=NOON) for _ in range(2)]
    assert await of(engine, ANNA, used.code) == user_id
    with pytest.raises(LinkError):
        await use_link(engine, other.code, PASSWORD, origin=FROM, now=NOON)


@pytest.mark.parametrize("address", ["ANNA@LAB.EXAMPLE", "anna@lab.example"])
async def test_capitals_of_an_address_do_not_count(engine: AsyncEngine, address: str) -> None:
    user_id = await added(engine)
    assert await of(engine, Identity(ISSUER, "x", address)) == user_id


@pytest.mark.parametrize("address", ["\u212aarl@lab.example", "karl@lab.example.evil.example", "%@lab.example"])
async def test_an_address_that_only_looks_alike_is_another(engine: AsyncEngine, address: str) -> None:
    await added(engine, "karl", "karl@lab.example")
    with pytest.raises(NotLinkedError):
        await of(engine, Identity(ISSUER, "x", address))


async def test_of_two_answers_to_one_question_one_is_the_first(engine: AsyncEngine) -> None:
    asked = begin("/", "", NOON)
    assert sorted(await asyncio.gather(*(use_up(engine, asked) for _ in range(5)))) == [False] * 4 + [True]


def test_what_the_browser_keeps_is_ours_or_nothing() -> None:
    seal, asked = Seal(bytes(32)), begin("/account", "link", NOON)
    text = sealed(seal, asked)
    assert opened(seal, text, NOON) == asked
    wrong = [
        text[:-4],
        text[::-1],
        "",
        "é",
        "====",
        text[:20] + "A" * 8 + text[28:],
        sealed(Seal(bytes(31) + b"1"), asked),
    ]
    assert [opened(seal, each, NOON) for each in wrong] == [None] * len(wrong)

"""Who forgot a password gets a letter, seldom; who asks for somebody else learns nothing, not even by waiting."""

import asyncio
from dataclasses import dataclass, field, replace

import httpx
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.db import reading
from central.mail import Mailer
from central.people.callers import Origin, Person
from central.people.forgotten import forgotten
from central.people.links import LinkError, use_link
from central.people.sites import EVERY_SITE
from central.people.users import UserChange, add_user, change_password, change_user
from central.settings import Settings
from central.tables import audit_entries, invitations
from tests.central.web import PASSWORD, Clock, central, people, serving
from tests.make import NOON

pytestmark = pytest.mark.anyio
FROM = Origin("192.0.2.7")
PATH = "/api/v1/password-links/forgotten"


@dataclass
class Letters:
    """Takes letters, once it may."""

    may: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[tuple[str, str]] = field(default_factory=list)

    async def send(self, to: str, subject: str, text: str) -> None:
        """One letter."""
        await self.may.wait()
        self.sent.append((to, text))


async def anna(engine: AsyncEngine, **changes: str | None) -> str:
    """Somebody with an address."""
    wanted = {"name": "anna", "password": PASSWORD, "email": "anna@lab.example"} | changes
    return (await add_user(engine, role="viewer", now=NOON, **wanted)).id  # type: ignore[arg-type]


async def count(engine: AsyncEngine) -> int:
    """How many links there are."""
    async with reading(engine) as connection:
        return await connection.scalar(select(func.count()).select_from(invitations)) or 0


async def test_an_account_gets_one_link_in_a_quarter_of_an_hour_however_many_ask(
    engine: AsyncEngine,
) -> None:
    clock = Clock()
    user_id = await anna(engine)
    found = await asyncio.gather(*(forgotten(engine, " Anna", origin=FROM, now=clock()) for _ in range(8)))
    links = [each for each in found if each is not None]
    assert [each[0] for each in links] == [user_id]
    clock.tick(899)
    assert await forgotten(engine, "anna", origin=FROM, now=clock()) is None
    clock.tick(2)
    assert await forgotten(engine, "anna", origin=FROM, now=clock()) is not None
    async with reading(engine) as connection:
        made = select(audit_entries.c.actor_id, audit_entries.c.address).where(audit_entries.c.action == "user.reset")
        assert [tuple(row) for row in await connection.execute(made)] == [("nobody", FROM.address)] * 2


@pytest.mark.parametrize("change", ["password", "email"])
async def test_a_letter_that_lies_in_an_old_place_opens_nothing_any_more(engine: AsyncEngine, change: str) -> None:
    user_id = await anna(engine)
    found = await forgotten(engine, "anna", origin=FROM, now=NOON)
    assert found is not None
    if change == "email":
        await change_user(engine, user_id, UserChange(email="anna@new.example"), actor=COMMAND, now=NOON)
    else:
        person = Person(user_id, "anna", "viewer", EVERY_SITE)
        await change_password(engine, person, f"{PASSWORD}, changed", actor=COMMAND, now=NOON)
    with pytest.raises(LinkError):
        await use_link(engine, found[1].code, "whoever reads her letters", origin=FROM, now=NOON)


async def test_nobody_else_gets_one(engine: AsyncEngine) -> None:
    shut_out = await anna(engine)
    await change_user(engine, shut_out, UserChange(disabled=True), actor=COMMAND, now=NOON)
    await anna(engine, name="bert", email=None)
    for name in ("anna", "bert", "nobody", "", "a\x00b", "x" * 300, "' OR 1=1 --"):
        assert await forgotten(engine, name, origin=FROM, now=NOON) is None, name
    assert await count(engine) == 0


@pytest.mark.parametrize("name", ["anna", "nobody"])
async def test_the_answer_is_there_before_anybody_is_looked_for(
    engine: AsyncEngine, settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await anna(engine)
    letters, looked = Letters(), asyncio.Event()

    async def late(*given: object, **more: object) -> object:
        await looked.wait()
        return await forgotten(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("central.api.forgotten.forgotten", late)
    async with serving(settings) as (url, app), httpx.AsyncClient(base_url=url) as client:
        app.state.parts = replace(app.state.parts, mailer=letters)
        answer = await client.post(PATH, json={"name": name})
        page = await client.post("/forgotten", data={"name": name})
        assert (answer.status_code, answer.content, page.status_code) == (204, b"", 200)
        assert "If there is such an account" in page.text
        assert name not in page.text.replace("nobody else", "")
        looked.set()
        letters.may.set()
        while name == "anna" and not letters.sent:
            await asyncio.sleep(0.01)
    assert [to for to, _ in letters.sent] == (["anna@lab.example"] if name == "anna" else [])
    assert all("/join/" in text for _, text in letters.sent)


async def test_where_no_letters_are_sent_it_says_whom_to_ask(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    async with central(settings) as client:
        answers = [await client.post(PATH, json={"name": name}) for name in ("viewer", "nobody")]
        pages = [(await client.post("/forgotten", data={"name": name})).text for name in ("viewer", "nobody")]
    assert [answer.status_code for answer in answers] == [409, 409]
    assert "ask an administrator" in answers[0].json()["detail"]
    assert pages[0] == pages[1]
    assert "Ask an administrator" in pages[0]


async def test_a_letter_goes_to_no_more_than_one_line(engine: AsyncEngine) -> None:
    with pytest.raises(ValueError, match="not an e-mail address"):
        await anna(engine, email="anna@lab.example\r\nBcc: everybody@lab.example")
    letters = Mailer("127.0.0.1", 9, "central@lab.example", tls_from_start=False)
    with pytest.raises(ValueError, match=r"(?i)linefeed|carriage"):
        await letters.send("anna@lab.example\r\nBcc: everybody@lab.example", "s", "t")

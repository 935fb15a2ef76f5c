"""Letters: each goes once, whatever dies in between; what cannot go says why and holds up no other."""

import asyncio
import base64
import http.server
import ipaddress
from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec
import pytest
from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading, transaction
from central.deliveries.editing import Desk
from central.deliveries.places import Bounds
from central.deliveries.targets.webhook import signature
from central.mail import LetterRefusedError, Mailer, MailError
from central.notices.letters import LEASE, MOST_ATTEMPTS, LetterError, Postman, Send, address_of, post, sender
from central.people.users import add_user
from central.seal import Seal
from central.tables import memberships, notice_letters, notice_rules, notices, users
from tests.central.letterbox import Letterbox, served
from tests.central.web import PASSWORD, Clock, people
from tests.make import NOON

pytestmark = pytest.mark.anyio
KEY = b"k" * 32
SECRET = "whsec_" + base64.b64encode(KEY).decode()
_names = count()


def postman(clock: Clock, send: Send) -> Postman:
    """Who sends so; each has its own name, as after a restart."""
    return Postman(f"central-{next(_names)}", clock, lambda: 0.5, send)


async def write(engine: AsyncEngine, *letters: tuple[str, str], rule: dict[str, Any] | None = None) -> None:
    """A notice that was opened, and these letters about it: (channel, recipient)."""
    async with transaction(engine) as connection:
        rule_id = await connection.scalar(select(notice_rules.c.id).order_by(notice_rules.c.id).limit(1))
        if rule:
            await connection.execute(update(notice_rules).where(notice_rules.c.id == rule_id).values(rule))
        notice = {
            "id": "n", "site_id": "main", "rule_id": rule_id, "kind": "device_offline", "object_kind": "device",
            "object_id": "bench-1", "state": "open", "since": NOON, "value": 1, "detail": "d", "opened_at": NOON,
            "tells": 1,
        }  # fmt: skip
        await connection.execute(insert(notices).values(notice))
        content = {"subject": "Device offline", "text": "bench-1\n", "type": "notice.opened"}
        row = {
            "notice_id": "n", "rule_id": rule_id, "site_id": "main", "event": "opened", "round": 1, "content": content,
            "state": "due", "created_at": NOON, "due_at": NOON, "attempts": 0,
        }  # fmt: skip
        some = [
            row | {"id": f"l{number:04d}", "channel": channel, "recipient": recipient}
            for number, (channel, recipient) in enumerate(letters)
        ]
        await connection.execute(insert(notice_letters), some)


async def states(engine: AsyncEngine) -> list[tuple[str, str | None]]:
    """(state, last error) of every letter."""
    async with reading(engine) as connection:
        rows = await connection.execute(select(notice_letters).order_by(notice_letters.c.id))
        return [(row.state, row.last_error) for row in rows]


class Killed(BaseException):
    """The process ends here."""


async def test_what_a_central_that_died_had_sent_goes_out_again_under_the_same_id_and_no_other_letter_does(
    engine: AsyncEngine,
) -> None:
    clock, sent = Clock(), list[str]()
    await write(engine, *(("email", f"person-{number}") for number in range(3)))

    async def dies(row: Row[Any]) -> None:
        sent.append(row.id)
        if row.id == "l0001":
            await asyncio.sleep(0.2)  # the others are written down meanwhile
            raise Killed

    async def goes(row: Row[Any]) -> None:
        sent.append(row.id)

    with pytest.raises(Killed):
        await post(engine, postman(clock, dies))
    assert await post(engine, postman(clock, goes)) == 0  # the lease of the dead one still runs
    clock.tick(LEASE.total_seconds() + 1)
    assert await post(engine, postman(clock, goes)) == 1
    assert sorted(sent) == ["l0000", "l0001", "l0001", "l0002"]
    assert await states(engine) == [("sent", None)] * 3
    clock.tick(86_400)
    assert await post(engine, postman(clock, goes)) == 0


async def test_of_many_centrals_one_sends_each_letter(engine: AsyncEngine) -> None:
    clock, sent = Clock(), list[str]()
    await write(engine, *(("email", f"person-{number}") for number in range(20)))

    async def goes(row: Row[Any]) -> None:
        sent.append(row.id)
        await asyncio.sleep(0.01)

    async def until_none() -> None:
        while await post(engine, postman(clock, goes)):
            pass

    await asyncio.gather(*(until_none() for _ in range(4)))
    while await post(engine, postman(clock, goes)):
        pass
    assert sorted(sent) == [f"l{number:04d}" for number in range(20)]


async def test_a_letter_that_cannot_go_holds_up_no_other_and_is_tried_later(engine: AsyncEngine) -> None:
    clock, sent = Clock(), list[str]()
    await write(engine, ("email", "a"), ("email", "b"), ("email", "c"), ("email", "d"))
    troubles: dict[str, Exception] = {
        "a": LetterError("the server does not answer", final=False),
        "b": LetterError("nobody of that name", final=True),
        "c": KeyError("our own bug, with an address in it"),
    }

    async def goes(row: Row[Any]) -> None:
        if row.recipient in troubles:
            raise troubles[row.recipient]
        sent.append(row.recipient)

    await post(engine, postman(clock, goes))
    assert await states(engine) == [
        ("due", "the server does not answer"),
        ("failed", "nobody of that name"),
        ("due", "an error of ours, KeyError"),
        ("sent", None),
    ]
    troubles.clear()
    assert await post(engine, postman(clock, goes)) == 0  # not yet
    clock.tick(10)
    assert await post(engine, postman(clock, goes)) == 2
    assert sorted(sent) == ["a", "c", "d"]


async def test_a_letter_is_given_up_in_the_end(engine: AsyncEngine) -> None:
    clock = Clock()
    await write(engine, ("email", "a"))

    async def never(row: Row[Any]) -> None:
        raise LetterError("no", final=False)

    async with transaction(engine) as connection:
        await connection.execute(update(notice_letters).values(attempts=MOST_ATTEMPTS - 2))
    await post(engine, postman(clock, never))
    assert await states(engine) == [("due", "no")]
    clock.tick(3600)
    await post(engine, postman(clock, never))
    assert await states(engine) == [("failed", "no")]


class Hook(http.server.BaseHTTPRequestHandler):
    """An address that is called."""

    heard: list[tuple[dict[str, str], bytes]]

    def do_POST(self) -> None:
        """Keep what came."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def letterbox() -> Iterator[tuple[int, list[str]]]:
    """A mail server's port, and what it got."""
    server = Letterbox()
    with served(server) as port:
        yield port, server.letters


@pytest.fixture
def hook() -> Iterator[tuple[int, list[tuple[dict[str, str], bytes]]]]:
    """A port that is called, and what it heard."""
    Hook.heard = []
    with served(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)) as port:
        yield port, Hook.heard


def desk(engine: AsyncEngine, *networks: str) -> Desk:
    """What letters are sent with; only these networks inside may be called."""
    inside = tuple(ipaddress.ip_network(each) for each in networks)
    bounds = Bounds(roots=(), networks=inside, file_url=str, now=lambda: NOON)
    return Desk(engine, Seal(b"s" * 32), bounds)


async def test_an_email_goes_to_the_persons_own_address_and_says_by_its_id_which_letter_it_is(
    engine: AsyncEngine, letterbox: tuple[int, list[str]]
) -> None:
    port, got = letterbox
    anna = await with_address(engine, "anna")
    await write(engine, ("email", anna))
    mailer = Mailer("127.0.0.1", port, "lab@lab.example", tls_from_start=False)
    await post(engine, postman(Clock(), sender(desk(engine), mailer)))
    assert await states(engine) == [("sent", None)]
    (letter,) = got
    assert "To: anna@lab.example" in letter
    assert "Message-ID: <l0000@lab.example>" in letter
    assert "Subject: Device offline" in letter


async def with_address(engine: AsyncEngine, name: str, role: str = "viewer") -> str:
    """A person of the main site who can be written to."""
    await add_user(engine, name=name, password=PASSWORD, role=role, now=NOON)  # type: ignore[arg-type]
    async with transaction(engine) as connection:
        user_id = await connection.scalar(select(users.c.id).where(users.c.name == name))
        await connection.execute(update(users).where(users.c.id == user_id).values(email=f"{name}@lab.example"))
    return str(user_id)


async def test_who_is_disabled_forgotten_or_of_another_laboratory_is_not_written_to(engine: AsyncEngine) -> None:
    ids = {name: await with_address(engine, name) for name in ("here", "disabled", "erased", "elsewhere")}
    ids["admin"] = await with_address(engine, "admin", "admin")
    ids["nobody"] = "0" * 36
    async with transaction(engine) as connection:
        await connection.execute(update(users).where(users.c.name == "disabled").values(disabled_at=NOON))
        await connection.execute(update(users).where(users.c.name == "erased").values(erased_at=NOON))
        gone = memberships.c.user_id.in_([ids["elsewhere"], ids["admin"]])
        await connection.execute(memberships.delete().where(gone))
    async with reading(engine) as connection:
        found = {name: await address_of(connection, user_id, "main") for name, user_id in ids.items()}
    assert {name for name, address in found.items() if address} == {"here", "admin"}


async def test_without_a_mail_server_a_letter_says_so_at_once(engine: AsyncEngine) -> None:
    await write(engine, ("email", "anna"))
    await post(engine, postman(Clock(), sender(desk(engine), None)))
    ((state, said),) = await states(engine)
    assert state == "failed"
    assert said is not None
    assert "WELLREAD_SMTP_URL" in said


@pytest.mark.parametrize(("kind", "state"), [(MailError, "due"), (LetterRefusedError, "failed")])
async def test_what_a_server_says_is_kept_without_the_address_and_a_refusal_is_not_asked_for_again(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, kind: type[MailError], state: str
) -> None:
    anna = await with_address(engine, "anna")
    await write(engine, ("email", anna))

    async def refuses(*_: Any, **__: Any) -> None:
        raise kind("no mailbox anna@lab.example here")

    monkeypatch.setattr(Mailer, "send", refuses)
    mailer = Mailer("127.0.0.1", 1, "lab@lab.example", tls_from_start=False)
    await post(engine, postman(Clock(), sender(desk(engine), mailer)))
    assert await states(engine) == [(state, "no mailbox the person's address here")]


async def test_a_call_is_signed_and_the_same_at_every_try(
    engine: AsyncEngine, hook: tuple[int, list[tuple[dict[str, str], bytes]]]
) -> None:
    port, heard = hook
    at = desk(engine, "127.0.0.0/8")
    async with reading(engine) as connection:
        rule_id = await connection.scalar(select(notice_rules.c.id).order_by(notice_rules.c.id).limit(1))
    sealed = at.seal.close(SECRET.encode(), str(rule_id))
    rule = {"webhook_url": f"http://127.0.0.1:{port}/hook", "secret": sealed}
    await write(engine, ("webhook", "webhook"), rule=rule)
    clock = Clock()
    await post(engine, postman(clock, sender(at, None)))
    async with transaction(engine) as connection:  # as if that had not been written down
        await connection.execute(update(notice_letters).values(state="due", sent_at=None))
    await post(engine, postman(clock, sender(at, None)))
    (headers, body), again = heard
    assert (headers["webhook-id"], body) == (again[0]["webhook-id"], again[1])
    moment = int(headers["webhook-timestamp"])
    assert headers["webhook-signature"] == signature(KEY, "l0000", moment, body)
    assert msgspec.json.decode(body)["type"] == "notice.opened"


async def test_an_address_inside_is_not_called(
    engine: AsyncEngine, hook: tuple[int, list[tuple[dict[str, str], bytes]]]
) -> None:
    port, heard = hook
    at = desk(engine)
    async with reading(engine) as connection:
        rule_id = await connection.scalar(select(notice_rules.c.id).order_by(notice_rules.c.id).limit(1))
    sealed = at.seal.close(SECRET.encode(), str(rule_id))
    rule = {"webhook_url": f"http://127.0.0.1:{port}/hook", "secret": sealed}
    await write(engine, ("webhook", "webhook"), rule=rule)
    await post(engine, postman(Clock(), sender(at, None)))
    ((state, said),) = await states(engine)
    assert (state, heard) == ("failed", [])
    assert said is not None
    assert "inside" in said


async def test_a_letter_is_one_of_its_notice_round_and_recipient(engine: AsyncEngine) -> None:
    await people(engine)
    await write(engine, ("email", "anna"))
    async with transaction(engine) as connection:
        row = dict((await connection.execute(select(notice_letters))).one()._mapping) | {"id": "another"}
    with pytest.raises(Exception, match=r"(?i)unique"):
        async with transaction(engine) as connection:
            await connection.execute(insert(notice_letters).values(row))
    async with reading(engine) as connection:
        assert await connection.scalar(select(func.count()).select_from(notice_letters)) == 1

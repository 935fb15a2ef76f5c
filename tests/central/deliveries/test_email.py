"""Results by e-mail, through a mail server that others wrote: whole, to allowed addresses, known when sent twice."""

import asyncio
import dataclasses
import email
import email.policy
from collections.abc import AsyncIterator
from email.message import EmailMessage
from typing import Any

import msgspec
import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading
from central.deliveries.outbox import work
from central.deliveries.targets.email import Email
from central.deliveries.targets.target import Outgoing, TargetError
from central.mail import Mailer
from central.settings import Settings
from central.tables import delivery_log
from tests.central.deliveries.test_outbox import make_delivery, states, worker
from tests.central.web import Clock, bearer, central, people
from tests.make import NOON

pytestmark = pytest.mark.anyio
FILE = Outgoing("d0000001", "titres_S-1.csv", "text/csv", b"row,titre\nA,6\n")


class Letterbox:
    """What the server does with letters: keep them, after what a test says about the next ones."""

    def __init__(self) -> None:
        """Takes everything."""
        self.letters: list[tuple[list[str], EmailMessage]] = []
        self.refusals: dict[str, str] = {}
        self.after_data: list[str | None] = []

    async def handle_RCPT(  # noqa: N802 - the server calls it so
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """What is said of an address."""
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 fine"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep the letter, then answer; None hangs up without a word."""
        answer = self.after_data.pop(0) if self.after_data else "250 taken"
        if answer is None or answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            letter = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(letter, EmailMessage)
            self.letters.append((list(envelope.rcpt_tos), letter))
        if answer is None:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
            return ""
        return answer


@pytest.fixture
async def letterbox() -> AsyncIterator[tuple[Mailer, Letterbox]]:
    """A mailer to a running server, and what that got."""
    box, loop = Letterbox(), asyncio.get_running_loop()
    async with await loop.create_server(lambda: SMTP(box, hostname="here", loop=loop), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield Mailer("127.0.0.1", port, "Wellread <lab@lab.example>", tls_from_start=False), box


def target(mailer: Mailer, *to: str) -> Email:
    """Letters to these people."""
    return Email(mailer, to or ("lims@lab.example",), lambda: NOON)


async def test_a_letter_that_takes_results_back_does_not_speak_of_approved_ones(
    letterbox: tuple[Mailer, Letterbox],
) -> None:
    mailer, box = letterbox
    sending = target(mailer)
    file = dataclasses.replace(FILE, name="titres_S-1_withdrawn_r2.csv", withdraws=True)
    await sending.finish(file, await sending.prepare(file))
    ((_, letter),) = box.letters
    assert letter["Subject"] == "Withdrawn: titres_S-1_withdrawn_r2.csv"
    body = letter.get_body(("plain",))
    assert body is not None
    assert "count no more" in body.get_content()
    assert "Approved" not in body.get_content()


async def test_a_file_arrives_whole_and_only_its_reader_can_say_so(letterbox: tuple[Mailer, Letterbox]) -> None:
    mailer, box = letterbox
    sending = target(mailer, "lims@lab.example", "anna@lab.example")
    place = await sending.prepare(FILE)
    assert not await sending.finish(FILE, place)
    assert await sending.taken(FILE, place) is None
    ((to, letter),) = box.letters
    assert to == ["lims@lab.example", "anna@lab.example"]
    assert letter["Message-ID"] == place["message_id"] == "<d0000001@lab.example>"
    (attached,) = letter.iter_attachments()
    assert (attached.get_filename(), attached.get_content_type()) == (FILE.name, "text/csv")
    assert attached.get_payload(decode=True) == FILE.content


async def test_one_address_that_is_refused_keeps_the_letter_from_all(letterbox: tuple[Mailer, Letterbox]) -> None:
    mailer, box = letterbox
    box.refusals["gone@lab.example"] = "550 no such person"
    with pytest.raises(TargetError, match=r"gone@lab\.example: 550 no such person") as caught:
        await target(mailer, "lims@lab.example", "gone@lab.example").finish(FILE, {})
    assert caught.value.final
    assert box.letters == []


@pytest.mark.parametrize(("answer", "final"), [("554 not here", True), ("452 no room, later", False)])
async def test_what_the_server_says_of_the_letter_decides_whether_it_is_tried_again(
    letterbox: tuple[Mailer, Letterbox], answer: str, final: bool
) -> None:
    mailer, box = letterbox
    box.after_data = [answer]
    with pytest.raises(TargetError, match=answer) as caught:
        await target(mailer).finish(FILE, {})
    assert caught.value.final is final


async def test_a_line_that_is_lost_after_the_letter_is_said_and_the_letter_known_again(
    engine: AsyncEngine, letterbox: tuple[Mailer, Letterbox]
) -> None:
    mailer, box = letterbox
    box.after_data = [None]
    clock = Clock()
    await make_delivery(engine)
    await work(engine, worker(clock, target(mailer)))
    ((state, error),) = await states(engine)
    assert (state, "it may have arrived" in (error or "")) == ("placing", True)
    clock.tick(100)
    await work(engine, worker(clock, target(mailer)))
    assert await states(engine) == [("placed", None)]
    (_, first), (_, second) = box.letters  # honestly: twice; and each says that it is the same
    assert first["Message-ID"] == second["Message-ID"]
    assert first.get_body() is not None
    clock.tick(1_000_000)
    assert await work(engine, worker(clock, target(mailer))) == 0  # nobody asks for ever who cannot be answered
    async with reading(engine) as connection:
        details = list(await connection.scalars(select(delivery_log.c.detail).where(delivery_log.c.event == "try")))
    assert "Message-ID <d0000001@lab.example>" in details[0]


async def test_nobody_there_is_tried_again() -> None:
    nowhere = Mailer("127.0.0.1", 1, "lab@lab.example", tls_from_start=False)
    with pytest.raises(TargetError, match="WELLREAD_SMTP_URL") as caught:
        await target(nowhere).finish(FILE, {})
    assert not caught.value.final


@pytest.mark.parametrize(
    ("to", "changed", "said"),
    [
        ("lims@lab.example, anna@LAB.example", {}, ""),
        ("lims@elsewhere.example", {}, "expected one in lab.example"),
        ("lims@notlab.example", {}, "expected one in lab.example"),
        ("lims@lab.example.evil.test", {}, "expected one in lab.example"),
        ("lims@lab.example\nBcc: a@b.example", {}, "not an address"),
        ("'x y'@lab.example", {}, "not an address"),
        (" , ", {}, "0 addresses"),
        (", ".join(f"a{at}@lab.example" for at in range(21)), {}, "21 addresses"),
        ("lims@lab.example", {"smtp_url": ""}, "no mail server"),
        ("lims@lab.example", {"delivery_mail_domains": ""}, "expected one in none"),
    ],
)
async def test_only_addresses_that_the_installer_allows_are_sent_to(
    engine: AsyncEngine, settings: Settings, to: str, changed: dict[str, Any], said: str
) -> None:
    await people(engine)
    own = {"smtp_url": "smtp://127.0.0.1:1", "mail_from": "lab@lab.example", "delivery_mail_domains": "lab.example"}
    rule = {"title": "Mail", "dialect": "titres", "target_kind": "email", "target": {"to": to}}
    async with central(msgspec.structs.replace(settings, **own | changed)) as client:
        answer = await client.post("/api/v1/delivery-rules", json=rule, headers=await bearer(client, "admin"))
    assert (answer.status_code == 201) is (said == ""), answer.text
    assert said in answer.text

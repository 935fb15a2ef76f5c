"""Links go out by e-mail where there is a server; where it does not take them they are handed over."""

from collections.abc import Iterator

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.mail import Mailer, MailError, mailer_of
from central.settings import Settings
from tests.central.letterbox import Letterbox, served
from tests.central.web import bearer, central, people

pytestmark = pytest.mark.anyio
ANNA = {"name": "anna", "role": "viewer", "site_ids": ["main"], "email": "anna@lab.example"}


@pytest.fixture
def letterbox() -> Iterator[tuple[str, list[str]]]:
    """A mail server's URL, and what it got."""
    server = Letterbox()
    with served(server) as port:
        yield f"smtp://127.0.0.1:{port}", server.letters


async def test_an_invitation_goes_to_the_persons_address_and_is_shown_to_nobody(
    engine: AsyncEngine, settings: Settings, letterbox: tuple[str, list[str]]
) -> None:
    url, letters = letterbox
    await people(engine)
    async with central(msgspec.structs.replace(settings, smtp_url=url, mail_from="lab@lab.example")) as client:
        made = (await client.post("/api/v1/users", json=ANNA, headers=await bearer(client, "admin"))).json()
    assert (made["link"], made["mailed"]) == (None, True)
    (letter,) = letters
    assert "To: anna@lab.example" in letter
    assert "/join/" in letter


async def test_a_link_that_no_server_takes_is_handed_over(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    nowhere = msgspec.structs.replace(settings, smtp_url="smtp://127.0.0.1:1", mail_from="lab@lab.example")
    async with central(nowhere) as client:
        made = (await client.post("/api/v1/users", json=ANNA, headers=await bearer(client, "admin"))).json()
    assert made["mailed"] is False
    assert "/join/" in made["link"]


async def test_an_address_that_no_server_can_be_told_is_handed_over_too(
    engine: AsyncEngine, settings: Settings, letterbox: tuple[str, list[str]]
) -> None:
    url, letters = letterbox
    await people(engine)
    wanted = ANNA | {"email": "jörg@lab.example"}
    async with central(msgspec.structs.replace(settings, smtp_url=url, mail_from="lab@lab.example")) as client:
        made = await client.post("/api/v1/users", json=wanted, headers=await bearer(client, "admin"))
    assert (made.status_code, letters) == (201, [])
    assert "/join/" in made.json()["link"]


async def test_a_server_elsewhere_that_offers_no_encryption_gets_nothing(letterbox: tuple[str, list[str]]) -> None:
    url, letters = letterbox
    port = int(url.rpartition(":")[2])
    elsewhere = Mailer("127.1", port, "lab@lab.example", tls_from_start=False, username="lab", password="swordfish")
    with pytest.raises(MailError) as caught:  # 127.1 is this machine, but its name does not say so
        await elsewhere.send("anna@lab.example", "Subject", "Text")
    assert letters == []
    assert "swordfish" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://host", "smtp://", "mail"])
def test_what_is_no_mail_server_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="no mail server"):
        mailer_of(url, "lab@lab.example")


def test_a_server_needs_an_address_to_send_from() -> None:
    with pytest.raises(ValueError, match="MAIL_FROM"):
        mailer_of("smtps://lab:swordfish@host", "")


async def test_a_line_end_in_an_address_is_no_header() -> None:
    with pytest.raises(ValueError, match=r"linefeed|newline"):
        await Mailer("127.0.0.1", 1, "lab@lab.example", tls_from_start=False).send("a@b\nBcc: c@d", "S", "T")

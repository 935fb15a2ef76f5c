"""Signing in at an OpenID provider: who is let in, who is not, and what no answer of a provider can do."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.db import reading
from central.people import oidc
from central.people.flow import begin
from central.people.links import make_link
from central.people.permissions import Role
from central.people.totp import STEP_S, code_at
from central.people.users import UserChange, add_user, change_user
from central.settings import Settings, load_settings
from central.tables import audit_entries, identities, sessions
from tests.central.people.provider import CLIENT, SECRET, Provider, new_key, providing
from tests.central.web import PASSWORD, Client, Clock, central, csrf_token, people
from tests.make import NOON

pytestmark = pytest.mark.anyio
ANSWER = "/sign-in/elsewhere/answer"


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """One database is enough here; what differs between them is tested by `test_identities`."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"


@pytest.fixture
def clock() -> Clock:
    """Of central and of the provider."""
    return Clock()


@pytest.fixture
def provider(clock: Clock) -> Iterator[Provider]:
    """A provider that knows Anna."""
    with providing(clock) as found:
        yield found


@pytest.fixture
async def client(settings: Settings, provider: Provider, clock: Clock) -> AsyncIterator[Client]:
    """A browser at a central that trusts the provider."""
    async with central(trusting(settings, provider), clock) as found:
        yield found


def trusting(settings: Settings, provider: Provider, **more: Any) -> Settings:
    """Settings that name the provider."""
    named = {"oidc_issuer": provider.issuer, "oidc_client_id": CLIENT, "oidc_client_secret": SECRET}
    return msgspec.structs.replace(settings, **named, oidc_title="the institute", **more)


async def anna(
    engine: AsyncEngine, password: str | None = None, email: str | None = "Anna@Lab.example", role: Role = "operator"
) -> str:
    """Somebody whom an administrator made."""
    return (await add_user(engine, name="anna", password=password, role=role, email=email, now=NOON)).id


async def ask(client: Client, **form: str) -> str:
    """Press the button: where the browser is sent."""
    page = await client.post("/sign-in/elsewhere", data=form)
    assert page.status_code == 200, page.text
    found = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', page.text)
    assert found is not None
    return unescape(found[1])


async def there_and_back(client: Client, provider: Provider, **form: str) -> httpx.Response:
    """The whole way: our page, the provider's, ours."""
    return await client.get(ANSWER, params=provider.authorise(await ask(client, **form)))


async def is_in(client: Client) -> bool:
    """Whether this browser is signed in."""
    return (await client.get("/account", follow_redirects=False)).status_code == 200


async def rows(engine: AsyncEngine, table: Any) -> list[Any]:
    """A table's rows."""
    async with reading(engine) as connection:
        return list((await connection.execute(select(table))).all())


async def test_who_was_made_here_is_linked_by_an_address_that_is_proved(
    engine: AsyncEngine, client: Client, provider: Provider
) -> None:
    user_id = await anna(engine)
    answer = await there_and_back(client, provider, next="/submissions")
    assert (answer.status_code, await is_in(client)) == (200, True)
    assert 'content="0; url=/submissions"' in answer.text
    assert [(row.subject, row.user_id) for row in await rows(engine, identities)] == [("a-17", user_id)]
    assert [row.proved for row in await rows(engine, sessions)] == ["oidc"]
    trail = await rows(engine, audit_entries)
    assert [row.action for row in trail][-2:] == ["user.link", "user.sign_in"]
    assert not [
        row for row in trail if "a-17" in f"{row.new}" or "example" in f"{row.new}".replace(provider.issuer, "")
    ]


async def test_the_tokens_of_the_provider_stay_at_central(
    engine: AsyncEngine, client: Client, provider: Provider
) -> None:
    await anna(engine)
    given: list[str] = []
    provider.token = lambda token: given.append(token) or token  # type: ignore[func-returns-value]
    answer = await there_and_back(client, provider)
    assert await is_in(client)
    assert len(given) == 1
    for said in (answer.text, str(answer.headers), str(dict(client.cookies))):
        assert given[0].split(".")[1] not in said
        assert "access_token" not in said


async def test_who_is_linked_comes_in_whatever_the_address_is_now(
    engine: AsyncEngine, client: Client, provider: Provider
) -> None:
    await anna(engine)
    await there_and_back(client, provider)
    client.cookies.clear()
    provider.claims = {"email": "other@lab.example", "email_verified": False}
    await there_and_back(client, provider)
    assert await is_in(client)


@pytest.mark.parametrize(
    "claims",
    [
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": None},
        {"email": None},
        {"email": "somebody@lab.example"},
        {"email": ["anna@lab.example"]},
        {"email": "anna@lab.example\r\nBcc: x@y.example"},
        {"sub": ""},
        {"sub": "x" * 300},
        {"sub": "a\x00b"},
        {"sub": {"a": 1}},
    ],
)
async def test_nobody_comes_in_by_an_address_that_is_not_proved_or_not_here(
    engine: AsyncEngine, client: Client, provider: Provider, claims: dict[str, Any]
) -> None:
    await anna(engine)
    provider.claims = claims
    assert (await there_and_back(client, provider)).status_code == 401
    assert (await is_in(client), await rows(engine, identities)) == (False, [])


@pytest.mark.parametrize("role", ["reviewer", "admin"])
async def test_an_address_alone_links_nobody_who_approves_or_administers(
    engine: AsyncEngine, client: Client, provider: Provider, role: Role
) -> None:
    user_id = await anna(engine, role=role)
    assert (await there_and_back(client, provider)).status_code == 401
    assert (await is_in(client), await rows(engine, identities)) == (False, [])
    link = await make_link(engine, user_id, actor=COMMAND, now=NOON)
    assert (await there_and_back(client, provider, link=link.code)).status_code == 200
    assert [row.user_id for row in await rows(engine, identities)] == [user_id]
    client.cookies.clear()
    assert (await there_and_back(client, provider)).status_code == 200
    assert await is_in(client)


async def test_an_address_of_two_accounts_is_of_neither(
    engine: AsyncEngine, client: Client, provider: Provider
) -> None:
    await anna(engine)
    await add_user(engine, name="anna2", password=None, role="admin", email="anna@lab.example", now=NOON)
    assert (await there_and_back(client, provider)).status_code == 401
    assert await rows(engine, identities) == []


async def test_an_address_that_is_given_to_somebody_else_there_opens_nothing_here(
    engine: AsyncEngine, client: Client, provider: Provider
) -> None:
    await anna(engine)
    await there_and_back(client, provider)
    client.cookies.clear()
    provider.claims = {"sub": "b-18"}
    assert (await there_and_back(client, provider)).status_code == 401
    assert not await is_in(client)


async def test_who_is_shut_out_stays_out(engine: AsyncEngine, client: Client, provider: Provider) -> None:
    user_id = await anna(engine)
    await there_and_back(client, provider)
    await change_user(engine, user_id, UserChange(disabled=True), actor=COMMAND, now=NOON)
    assert (await there_and_back(client, provider)).status_code == 401
    assert not await is_in(client)


async def test_a_link_of_an_administrator_links_who_opens_it_and_is_used_up(
    engine: AsyncEngine, client: Client, provider: Provider
) -> None:
    user_id = await anna(engine, email=None)
    link = await make_link(engine, user_id, actor=COMMAND, now=NOON)
    assert "the institute" in (await client.get(f"/join/{link.code}")).text
    await there_and_back(client, provider, link=link.code)
    assert await is_in(client)
    client.cookies.clear()
    provider.claims = {"sub": "b-18", "email_verified": False}
    assert "no longer good" in (await there_and_back(client, provider, link=link.code)).text
    assert [row.subject for row in await rows(engine, identities)] == ["a-17"]


async def test_a_sign_in_there_ends_the_session_that_this_browser_had(
    engine: AsyncEngine, client: Client, provider: Provider
) -> None:
    await anna(engine)
    await people(engine)
    await client.post("/sign-in", data={"name": "viewer", "password": PASSWORD})
    answer = provider.authorise(await ask(client))
    before = client.cookies["wellread_session"]
    client.cookies.delete("wellread_session")  # no browser sends a Strict cookie where another site's page leads it
    await client.get(ANSWER, params=answer)
    assert await is_in(client)
    client.cookies.clear()
    client.cookies.set("wellread_session", before)
    assert not await is_in(client)


async def test_one_time_codes_are_asked_for_after_the_provider_too(
    engine: AsyncEngine, client: Client, provider: Provider, clock: Clock
) -> None:
    await anna(engine, PASSWORD)
    await client.post("/sign-in", data={"name": "anna", "password": PASSWORD})
    form = {"csrf_token": await csrf_token(client), "password": PASSWORD}
    shown = (await client.post("/account/codes", data=form)).text
    secret = bytes_of(re.search(r'<p class="code">([A-Z2-7 ]+)</p>', shown)[1])  # type: ignore[index]
    step = int(clock().timestamp()) // STEP_S
    await client.post("/account/codes/confirm", data=form | {"code": code_at(secret, step)})
    client.cookies.clear()
    page = (await there_and_back(client, provider)).text
    assert not await is_in(client)
    ticket = re.search(r'name="ticket" value="([^"]+)"', page)
    assert ticket is not None
    await client.post("/sign-in", data={"ticket": ticket[1], "code": code_at(secret, step + 1)})
    assert (await is_in(client), (await rows(engine, sessions))[-1].proved) == (True, "oidc+totp")


def bytes_of(text: str) -> bytes:
    """A secret as it is typed."""
    plain = text.replace(" ", "")
    return base64.b32decode(plain + "=" * (-len(plain) % 8))


async def test_who_has_no_password_is_told_that_signing_needs_one(
    engine: AsyncEngine, client: Client, provider: Provider
) -> None:
    await anna(engine)
    await there_and_back(client, provider)
    headers = {"x-csrf-token": await csrf_token(client)}
    answer = await client.post("/api/v1/users/me/second-factor", json={"password": PASSWORD}, headers=headers)
    assert answer.status_code == 403
    assert "ask an administrator for a link to set one" in answer.json()["detail"]
    assert "no password here" in (await client.get("/account")).text


async def test_a_central_without_a_provider_has_no_such_page(settings: Settings) -> None:
    async with central(settings) as client:
        assert (await client.post("/sign-in/elsewhere", data={})).status_code == 404
        assert (await client.get(ANSWER)).status_code == 404
        assert "elsewhere" not in (await client.get("/sign-in")).text


# What an attacker, a bad provider or a bad network can do.


def hs256_with_the_public_key(provider: Provider) -> None:
    """Sign with HS256, and the published key as the secret. By hand: the library refuses to."""
    public = provider.key.as_pem(private=False)

    def signed(token: str) -> str:
        head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"first"}').decode().rstrip("=")
        text = f"{head}.{token.split('.')[1]}"
        mac = hmac.new(public, text.encode(), hashlib.sha256).digest()
        return f"{text}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    provider.token = signed


def unsigned(provider: Provider) -> None:
    """No signature, and a header that says so."""
    provider.token = lambda token: f"eyJhbGciOiJub25lIn0.{token.split('.')[1]}."


def another_key(provider: Provider) -> None:
    """A key of the same name that is not published."""
    provider.published = [provider.key]
    provider.key = new_key("first")


def said(**claims: Any) -> Callable[[Provider], None]:
    """Say this instead."""

    def change(provider: Provider) -> None:
        provider.claims = claims

    return change


NOW = int(NOON.timestamp())
ATTACKS: dict[str, Callable[[Provider], None]] = {
    "wrong nonce": said(nonce="x"),
    "no nonce": said(nonce=None),
    "another audience": said(aud="somebody-else"),
    "more audiences": said(aud=[CLIENT, "somebody-else"]),
    "no audience": said(aud=None),
    "another authorised party": said(azp="somebody-else"),
    "another issuer": said(iss="https://evil.example"),
    "no issuer": said(iss=None),
    "expired": said(exp=NOW - 61),
    "never expires": said(exp=None),
    "from tomorrow": said(iat=NOW + 86400),
    "no signature": unsigned,
    "HS256 with the public key": hs256_with_the_public_key,
    "a key that is not published": another_key,
    "a changed signature": lambda provider: setattr(provider, "token", lambda token: token[:-8] + "AAAAAAAA"),
    "no token": lambda provider: setattr(provider, "token", lambda _: None),
    "half a token": lambda provider: setattr(provider, "token", lambda token: token[: len(token) // 2]),
    "metadata of another": lambda provider: provider.metadata.update(issuer="https://evil.example"),
    "keys in the clear": lambda provider: provider.metadata.update(jwks_uri="http://evil.example/keys"),
    "keys of a file": lambda provider: provider.metadata.update(jwks_uri="file:///etc/passwd"),
    "no token endpoint": lambda provider: provider.metadata.update(token_endpoint=None),
    "ways that are no list": lambda provider: provider.metadata.update(token_endpoint_auth_methods_supported=None),
    "an answer without end": lambda provider: provider.metadata.update(x="y" * 300_000),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_no_answer_of_a_provider_is_believed_that_is_not_the_one_asked_for(
    engine: AsyncEngine, client: Client, provider: Provider, attack: str
) -> None:
    await anna(engine)
    ATTACKS[attack](provider)
    page = await client.post("/sign-in/elsewhere", data={})
    if page.status_code == 200:
        address = unescape(re.search(r'content="0; url=([^"]+)"', page.text)[1])  # type: ignore[index]
        page = await client.get(ANSWER, params=provider.authorise(address))
    assert page.status_code in (401, 502)
    assert "did not work" in page.text
    assert (await is_in(client), await rows(engine, identities)) == (False, [])


async def test_a_provider_that_never_comes_to_an_end_is_left_and_not_asked_by_each_who_waits(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    asked: list[bytes] = []
    left = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n")
        with contextlib.suppress(OSError):
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        left.set()

    monkeypatch.setattr(oidc, "TIMEOUT_S", 0.5)
    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        slow = oidc.Provider(f"http://127.0.0.1:{port}", CLIENT, "", "slow", now=clock)
        with anyio.fail_after(30):
            ways = (slow.address(begin("/", "", clock()), "https://central.example/") for _ in range(8))
            found = await asyncio.gather(*ways, return_exceptions=True)
            await left.wait()
    assert [type(each) for each in found] == [oidc.ProviderError] * 8
    assert len(asked) == 1


async def test_an_answer_is_taken_once(engine: AsyncEngine, client: Client, provider: Provider) -> None:
    await anna(engine)
    answer = provider.authorise(await ask(client))
    kept = client.cookies["wellread_elsewhere"]
    await client.get(ANSWER, params=answer)
    assert await is_in(client)
    client.cookies.clear()
    client.cookies.set("wellread_elsewhere", kept)
    provider.codes[answer["code"]] = dict(answer)
    assert (await client.get(ANSWER, params=answer)).status_code == 401
    assert (await is_in(client), answer["code"] in provider.codes) == (False, True)


async def test_an_answer_is_taken_by_the_browser_that_asked_and_by_no_other(
    engine: AsyncEngine, client: Client, provider: Provider, clock: Clock
) -> None:
    await anna(engine)
    theirs = provider.authorise(await ask(client))
    client.cookies.clear()
    assert (await client.get(ANSWER, params=theirs)).status_code == 401
    await ask(client)
    assert (await client.get(ANSWER, params=theirs)).status_code == 401
    mine = provider.authorise(await ask(client))
    clock.tick(601)
    assert (await client.get(ANSWER, params=mine)).status_code == 401
    assert not await is_in(client)


@pytest.mark.parametrize("change", [{"iss": "https://evil.example"}, {"state": ""}, {"code": ""}, {"code": "x"}])
async def test_an_answer_of_another_issuer_or_without_a_code_is_refused(
    engine: AsyncEngine, client: Client, provider: Provider, change: dict[str, str]
) -> None:
    await anna(engine)
    answer = provider.authorise(await ask(client)) | change
    assert (await client.get(ANSWER, params=answer)).status_code == 401
    assert not await is_in(client)


async def test_an_issuer_that_must_be_named_and_is_not_is_another(
    engine: AsyncEngine, client: Client, provider: Provider
) -> None:
    await anna(engine)
    provider.metadata["authorization_response_iss_parameter_supported"] = True
    answer = provider.authorise(await ask(client))
    del answer["iss"]
    assert (await client.get(ANSWER, params=answer)).status_code == 401


async def test_a_new_key_of_the_provider_is_asked_for_and_not_without_end(
    engine: AsyncEngine, client: Client, provider: Provider, clock: Clock
) -> None:
    await anna(engine)
    await there_and_back(client, provider)
    client.cookies.clear()
    provider.rotate("second")
    assert (await there_and_back(client, provider)).status_code == 401  # the keys are seconds old
    clock.tick(31)
    assert (await there_and_back(client, provider)).status_code == 200
    assert await is_in(client)
    assert provider.asked.count("/keys") == 2


async def test_the_cookie_of_the_way_is_no_ones_to_read_or_to_send_in_the_clear(
    settings: Settings, provider: Provider, clock: Clock
) -> None:
    async with central(trusting(settings, provider, secure_cookies=True), clock) as client:
        page = await client.post("/sign-in/elsewhere", data={})
    cookie = page.headers["set-cookie"]
    assert cookie.startswith("__Host-wellread_elsewhere=")
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "state" not in cookie
    assert parse_state(page.text) not in cookie


def parse_state(text: str) -> str:
    """The state that the browser takes to the provider."""
    found = re.search(r"state=([A-Za-z0-9_-]+)", text)
    assert found is not None
    return found[1]


async def test_a_foreign_page_cannot_begin_it(client: Client) -> None:
    answer = await client.post("/sign-in/elsewhere", data={}, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("issuer", "client_id", "words"),
    [
        ("http://login.lab.example", CLIENT, "https"),
        ("https://login.lab.example?x=1", CLIENT, "https"),
        ("login.lab.example", CLIENT, "https"),
        ("https://login.lab.example", "", "CLIENT_ID"),
    ],
)
def test_settings_of_a_provider_that_do_not_fit_are_refused(issuer: str, client_id: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_settings({"WELLREAD_OIDC_ISSUER": issuer, "WELLREAD_OIDC_CLIENT_ID": client_id})

"""Quotas: each caller has one of his own, an answer says what is left, and one too many is told when to come again."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncEngine

from central.audit.chain import COMMAND
from central.people.keys import create_key
from central.settings import Settings
from central.web.limits import MAX_CALLERS, UNKNOWN_SHARE, Rates
from tests.central.web import Client, Clock, bearer, called_from, central, people, runs
from tests.make import NOON

pytestmark = pytest.mark.anyio

FEW = 10


async def key_of(engine: AsyncEngine) -> dict[str, str]:
    """The header of a laboratory system."""
    _, key = await create_key(
        engine, title="LIMS", site_id="main", scopes=["results:read"], expires_at=None, actor=COMMAND, now=NOON
    )
    return {"authorization": f"Bearer {key}"}


async def answered(client: Client, headers: dict[str, str], times: int, path: str = "/api/v1/runs") -> list[int]:
    """The statuses of so many requests."""
    return [(await client.get(path, headers=headers)).status_code for _ in range(times)]


def test_a_caller_has_so_many_at_once_and_as_many_again_after_a_minute() -> None:
    rates = Rates()
    left = [rates.take("key", "a", 60, NOON).left for _ in range(60)]
    assert left == list(range(59, -1, -1))
    refused = rates.take("key", "a", 60, NOON)
    assert (refused.left, refused.wait_s, refused.full_s) == (0, 1, 60)
    assert rates.take("key", "a", 60, NOON + timedelta(seconds=1)).wait_s == 0
    assert rates.take("key", "a", 60, NOON + timedelta(seconds=1)).wait_s == 1
    assert rates.take("key", "a", 60, NOON + timedelta(minutes=2)).left == 59


def test_a_clock_that_goes_back_gives_and_takes_nothing() -> None:
    rates = Rates()
    rates.take("key", "a", 2, NOON)
    rates.take("key", "a", 2, NOON - timedelta(hours=1))
    assert rates.take("key", "a", 2, NOON - timedelta(hours=1)).wait_s == 30


def test_callers_of_one_name_and_two_kinds_are_two() -> None:
    rates = Rates()
    assert [rates.take(kind, "a", 1, NOON).wait_s for kind in ("key", "person", "key")] == [0, 0, 60]


def test_who_was_not_heard_of_for_longest_is_forgotten_first() -> None:
    rates = Rates()
    for name in ("first", *map(str, range(MAX_CALLERS))):
        rates.take("address", name, 1, NOON)
    assert len(rates._buckets) == MAX_CALLERS
    assert rates.take("address", "first", 1, NOON).wait_s == 0
    assert rates.take("address", str(MAX_CALLERS - 1), 1, NOON).wait_s == 60


async def test_one_request_too_many_is_refused_and_told_when(engine: AsyncEngine, settings: Settings) -> None:
    clock, key = Clock(), await key_of(engine)
    async with central(replace(settings, requests_per_minute=FEW), clock) as client:
        first = await client.get("/api/v1/runs", headers=key)
        assert first.headers["ratelimit-policy"] == '"key";q=10;w=60'
        assert first.headers["ratelimit"] == '"key";r=9;t=6'
        assert await answered(client, key, FEW) == [200] * 9 + [429]
        refused = await client.get("/api/v1/runs", headers=key)
        assert refused.headers["content-type"] == "application/problem+json"
        assert (refused.headers["retry-after"], refused.headers["ratelimit"]) == ("6", '"key";r=0;t=60')
        assert refused.json()["detail"] == "more than 10 requests in a minute (try again in 6 s)"
        clock.tick(float(refused.headers["retry-after"]))
        assert await answered(client, key, 2) == [200, 429]


async def test_a_person_a_key_and_a_device_of_one_address_take_nothing_from_each_other(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    device = await runs(engine, 1)
    key = await key_of(engine)
    async with central(replace(settings, requests_per_minute=FEW)) as client:
        person = await bearer(client)
        assert (await answered(client, key, FEW + 1))[-1] == 429
        assert (await answered(client, person, FEW + 1))[-2:] == [200, 429]
        told = (await client.get("/api/v1/runs", headers={"authorization": f"Bearer {device.upload_token}"})).headers
        assert told["ratelimit"].startswith('"device";r=9;')


async def test_bad_keys_from_one_address_are_one_caller_who_has_a_fifth(
    engine: AsyncEngine, settings: Settings
) -> None:
    key = await key_of(engine)
    async with central(replace(settings, requests_per_minute=FEW)) as client:
        found = [
            (
                await client.get("/api/v1/runs", headers={"authorization": f"Bearer wr_{number:012x}_{'A' * 43}"})
            ).status_code
            for number in range(5)
        ]
        assert found == [401] * (FEW // UNKNOWN_SHARE) + [429] * 3
        assert await answered(client, key, 1) == [200]


@pytest.mark.parametrize(("trusted", "refused"), [("", 18), ("10.0.0.2", 0)])
async def test_what_a_header_says_of_the_address_counts_from_our_own_proxy_only(
    engine: AsyncEngine, settings: Settings, trusted: str, refused: int
) -> None:
    async with called_from(replace(settings, requests_per_minute=FEW), "10.0.0.2", trusted) as outside:
        said = [
            (await outside.get("/api/v1/runs", headers={"x-forwarded-for": f"10.1.1.{number}"})).status_code
            for number in range(20)
        ]
    assert said.count(429) == refused


async def test_a_flood_does_not_make_central_look_ill(engine: AsyncEngine, settings: Settings) -> None:
    async with central(replace(settings, requests_per_minute=FEW)) as client:
        assert (await answered(client, {}, 5))[-1] == 429
        assert await answered(client, {}, 20, "/healthz") == [200] * 20
        assert 429 not in await answered(client, {}, 3, "/readyz")
        assert (await client.get("/sign-in")).status_code == 429

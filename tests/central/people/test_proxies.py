"""From where a caller seems to come: the socket, unless a proxy of ours says otherwise."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.people.throttle import FREE_TRIES
from central.settings import Settings
from tests.central.web import called_from, people

pytestmark = pytest.mark.anyio

WRONG = {"name": "viewer", "password": "not this one"}


async def looked_at(settings: Settings, peer: str, trusted: str = "") -> int:
    """Of 20 wrong sign-ins, each with another `X-Forwarded-For`, sent by this peer: how many were looked at."""
    async with called_from(settings, peer, trusted) as outside:
        answers = [
            await outside.post("/api/v1/tokens", json=WRONG, headers={"x-forwarded-for": f"10.1.1.{number}"})
            for number in range(20)
        ]
    return sum(answer.status_code == 401 for answer in answers)


async def test_a_header_that_names_another_address_each_time_buys_no_try(
    engine: AsyncEngine, settings: Settings
) -> None:
    await people(engine)
    assert await looked_at(settings, "10.6.6.6") == FREE_TRIES
    assert await looked_at(settings, "10.6.6.6", trusted="10.0.0.2") == FREE_TRIES


async def test_what_a_proxy_of_ours_says_is_believed(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    assert await looked_at(settings, "10.0.0.2", trusted="10.0.0.2") == 20

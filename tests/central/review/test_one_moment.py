"""What is shown of a run, a test or a submission is of one moment, whatever is said of it while it is read."""

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import make_engine
from central.settings import Settings
from central.tables import users
from tests.central.meanwhile import meanwhile
from tests.central.review.reviews import RUN, override, read_plate, say
from tests.central.web import bearer, central, people

pytestmark = pytest.mark.anyio


async def corrected(settings: Settings, user_id: str) -> None:
    """Somebody takes A6 for a button, so the endpoint of A is 5 instead of 6."""
    other = make_engine(settings.database)
    await say(other, user_id, override("A6"))
    await other.dispose()


async def reviewer_id(engine: AsyncEngine) -> str:
    """Who reviews."""
    async with engine.connect() as connection:
        return str(await connection.scalar(select(users.c.id).where(users.c.name == "reviewer")))


@pytest.mark.parametrize(
    "address",
    [
        f"/api/v1/runs/{RUN}/review",
        f"/api/v1/runs/{RUN}/titres",
        f"/api/v1/runs/{RUN}/wells",
        "/api/v1/submissions/S-1001/titres",
    ],
)
async def test_an_answer_is_of_before_or_of_after_a_correction(
    engine: AsyncEngine, settings: Settings, address: str
) -> None:
    await people(engine, "reviewer")
    await read_plate(engine)
    user_id = await reviewer_id(engine)
    async with central(settings) as client:
        headers = await bearer(client, "reviewer")
        before = (await client.get(address, headers=headers)).json()
        with meanwhile(client.app.state.parts.engine, "FROM corrections", lambda: corrected(settings, user_id)) as met:
            between = (await client.get(address, headers=headers)).json()
        after = (await client.get(address, headers=headers)).json()
    assert met
    assert before != after
    assert between == before

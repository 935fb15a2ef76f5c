"""A place in trouble is shown with what to do, tried again or given up as it should be, and holds up no other place."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.db import reading, transaction
from central.deliveries.differences import Made, said_of
from central.deliveries.outbox import Worker, work
from central.deliveries.render import render
from central.deliveries.targets.folder import Folder
from central.deliveries.targets.s3 import S3
from central.deliveries.targets.sftp import Sftp
from central.deliveries.targets.target import Outgoing, Place, Target, TargetError
from central.deliveries.targets.webhook import Webhook
from central.settings import Settings
from central.tables import deliveries
from tests.central.deliveries import test_s3, test_sftp, test_webhook
from tests.central.deliveries.results import make_results
from tests.central.deliveries.test_outbox import TITRES, make_delivery
from tests.central.deliveries.test_rules import rule
from tests.central.web import Clock, central, people, sign_in
from tests.make import NOON

pytestmark = pytest.mark.anyio
host, server, system = test_sftp.host, test_s3.server, test_webhook.system


def worker(clock: Clock, targets: dict[str, Target]) -> Worker:
    """Each rule's place by the rule's id."""

    async def generate(_: AsyncConnection, row: Row[Any]) -> Made:
        results = make_results(revision=row.revision, submission=f"S-{row.subject_id}")
        return Made(render(TITRES, results), said_of(results))

    async def where(row: Row[Any]) -> Target:
        return targets[row.rule_id]

    async def holds(_: AsyncConnection, __: Row[Any]) -> None:
        """Nothing was changed."""

    return Worker(f"w{clock.at}", clock, lambda: 0.5, generate, where, holds)


async def two_rules(engine: AsyncEngine, waiting: int = 1) -> None:
    """So many deliveries that are for `rule`, due before one for `good`."""
    await make_delivery(engine, "d0000000-0000-4000-8000-000000000000")
    await rule(engine, id="good")
    async with transaction(engine) as connection:
        (made,) = (await connection.execute(select(deliveries))).all()
        for number in range(1, waiting + 1):
            name = f"d{number:07}-0000-4000-8000-000000000000"
            changed = {"id": name, "subject_id": f"s{number}", "rule_id": "good" if number == waiting else "rule"}
            await connection.execute(insert(deliveries).values(dict(made._mapping) | changed))


async def states(engine: AsyncEngine, rule_id: str) -> list[tuple[str, str]]:
    """(state, what to do) of a rule's deliveries."""
    query = select(deliveries).where(deliveries.c.rule_id == rule_id).order_by(deliveries.c.id)
    async with reading(engine) as connection:
        return [(row.state, row.last_error or "") for row in await connection.execute(query)]


class Hanging(Folder):
    """Takes nothing while a test does not let it."""

    def __init__(self, path: Path) -> None:
        """Waits."""
        super().__init__(path)
        self.go_on = asyncio.Event()

    async def prepare(self, file: Outgoing) -> Place:
        """Wait, and then refuse."""
        await self.go_on.wait()
        raise TargetError("the place hangs", "it is tried again")


async def test_a_place_that_hangs_with_many_files_holds_up_no_other(engine: AsyncEngine, tmp_path: Path) -> None:
    await two_rules(engine, waiting=20)
    hanging = Hanging(tmp_path)
    working = asyncio.create_task(work(engine, worker(Clock(), {"rule": hanging, "good": Folder(tmp_path)})))
    while (await states(engine, "good"))[0][0] != "placed":
        await asyncio.sleep(0.02)
        assert not working.done(), working
    hanging.go_on.set()
    await working


Trouble = Callable[[Path, dict[str, Any], str, str], Target]


def sftp(host: dict[str, Any], **wrong: Any) -> Target:
    """The host's folder with something wrong."""
    return Sftp(**host | wrong)


def hook(url: str, path: str) -> Webhook:
    """An address of the system."""
    return test_webhook.webhook(f"{url}/{path}", inside=test_webhook.LOOPBACK, whole_call_s=0.5)


TROUBLES: list[tuple[str, Trouble, str, bool]] = [
    ("folder gone", lambda at, *_: Folder(at / "gone"), "share is mounted", False),
    ("another host key", lambda _, host, *__: sftp(host, host_key=test_sftp.public(test_sftp.OTHER_KEY)),
     "if the host was really changed, put its new key into the rule", True),
    ("wrong password", lambda _, host, *__: sftp(host, password="x"), "check the user name and its key", False),
    ("500", lambda *given: hook(given[2], "500"), "answers 500 Internal Server Error (it is tried again)", False),
    ("410", lambda *given: hook(given[2], "410"), "the rule has to be changed", True),
    ("no end", lambda *given: hook(given[2], "drip"), "it is tried again", False),
    ("redirect inside", lambda *given: hook(given[2], "302"), "give the rule the address itself", True),
    ("inside", lambda *_: test_webhook.webhook("https://10.0.0.1/"), "WELLREAD_DELIVERY_NETWORKS", True),
    ("no bucket", lambda *given: test_s3.bucket(given[3], "no", make=False), "make the bucket again", False),
]  # fmt: skip


@pytest.mark.parametrize(("trouble", "said", "final"), [pytest.param(*each[1:], id=each[0]) for each in TROUBLES])
async def test_what_to_do_is_said_and_the_other_place_gets_its_file(
    *,
    engine: AsyncEngine,
    tmp_path: Path,
    host: dict[str, Any],
    system: tuple[str, Any],
    server: str,
    trouble: Trouble,
    said: str,
    final: bool,
) -> None:
    await two_rules(engine)
    good = tmp_path / "good"
    good.mkdir()
    bad = trouble(tmp_path, host, system[0], server)
    await work(engine, worker(Clock(), {"rule": bad, "good": Folder(good)}))
    ((state, error),) = await states(engine, "rule")
    assert ((state == "failed"), said in error) == (final, True), error
    assert [each for each, _ in await states(engine, "good")] == ["placed"]
    assert len(list(good.iterdir())) == 1


async def test_a_bucket_that_went_away_is_not_taken_for_one_that_was_emptied(engine: AsyncEngine, server: str) -> None:
    clock, target = Clock(), test_s3.bucket(server, f"swept-{engine.dialect.name}")
    await make_delivery(engine)
    await work(engine, worker(clock, {"rule": target}))
    async with transaction(engine) as connection:
        await connection.execute(update(deliveries).values(due_at=NOON))
    gone = S3(test_s3.bucket(server, "elsewhere", make=False).store, "in")
    clock.tick(100)
    await work(engine, worker(clock, {"rule": gone}))
    ((state, error),) = await states(engine, "rule")
    assert (state, "make the bucket again" in error) == ("placed", True)


async def test_the_page_shows_what_to_do(engine: AsyncEngine, settings: Settings, tmp_path: Path) -> None:
    await people(engine)
    await make_delivery(engine, "d0000000-0000-4000-8000-000000000000")
    await work(engine, worker(Clock(), {"rule": Folder(tmp_path / "gone")}))
    async with central(settings) as client:
        await sign_in(client)
        page = (await client.get("/deliveries/d0000000-0000-4000-8000-000000000000")).text
    assert "check that the folder is there and the share is mounted" in page
    assert "what to do" in page.lower()

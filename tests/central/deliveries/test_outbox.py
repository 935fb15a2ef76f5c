"""Deliveries: each file gets to its place once, whatever dies in between; what cannot be placed says what to do."""

import errno
import os
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.db import reading, transaction
from central.deliveries.dialect import shipped
from central.deliveries.differences import Made, said_of
from central.deliveries.outbox import LEASE, Worker, work
from central.deliveries.render import render
from central.deliveries.targets import folder
from central.deliveries.targets.folder import Folder
from central.deliveries.targets.target import Outgoing, Place, Target, TargetError
from central.tables import deliveries, delivery_log, delivery_rules
from tests.central.deliveries.results import make_results
from tests.central.web import Clock
from tests.make import NOON

pytestmark = pytest.mark.anyio
TITRES = shipped()["titres"]
FILE = Outgoing("d0000001", "a.csv", "text/csv", b"1,2\n")
_names = count()


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    """A folder that a laboratory system sweeps."""
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


async def make_delivery(engine: AsyncEngine, delivery_id: str = "d0000001", revision: int = 1) -> None:
    """A delivery that is due now, of a rule of its own the first time."""
    rule = {
        "id": "rule", "site_id": "main", "title": "R", "revision": 1, "when": "approved", "of": "test",
        "dialect": msgspec.to_builtins(TITRES), "target_kind": "folder", "target": {}, "enabled": True,
        "created_at": NOON, "in_force_since": NOON, "created_by": "anna",
    }  # fmt: skip
    row = {
        "id": delivery_id, "rule_id": "rule", "site_id": "main", "subject_kind": "test", "subject_id": "test-1",
        "revision": revision, "state": "pending", "record_sha256": "0" * 64, "created_at": NOON, "created_by": "anna",
        "due_at": NOON, "attempts": 0,
    }  # fmt: skip
    async with transaction(engine) as connection:
        if await connection.scalar(select(delivery_rules.c.id)) is None:
            await connection.execute(insert(delivery_rules).values(rule))
        await connection.execute(insert(deliveries).values(row))


def worker(clock: Clock, target: Target) -> Worker:
    """A worker at this place; each has its own name, as after a restart."""

    async def generate(_: AsyncConnection, row: Row[Any]) -> Made:
        results = make_results(revision=row.revision)
        return Made(render(TITRES, results), said_of(results))

    async def where(_: Row[Any]) -> Target:
        return target

    async def holds(_: AsyncConnection, __: Row[Any]) -> None:
        """Nothing was changed."""

    return Worker(f"worker-{next(_names)}", clock, lambda: 0.5, generate, where, holds)


async def states(engine: AsyncEngine) -> list[tuple[str, str | None]]:
    """(state, last error) of every delivery."""
    query = select(deliveries.c.state, deliveries.c.last_error).order_by(deliveries.c.revision)
    async with reading(engine) as connection:
        return [(row.state, row.last_error) for row in await connection.execute(query)]


def names(drop: Path) -> list[str]:
    """What a sweep would take."""
    return sorted(path.name for path in drop.iterdir() if not path.name.startswith("."))


async def test_a_file_is_placed_whole_and_is_known_to_have_arrived_once_it_is_swept(
    engine: AsyncEngine, drop: Path
) -> None:
    clock = Clock()
    await make_delivery(engine)
    await work(engine, worker(clock, Folder(drop)))
    assert await states(engine) == [("placed", None)]
    (placed,) = drop.iterdir()
    assert placed.read_bytes() == render(TITRES, make_results()).content
    placed.unlink()
    clock.tick(60)
    await work(engine, worker(clock, Folder(drop)))
    assert await states(engine) == [("acknowledged", None)]
    async with reading(engine) as connection:
        events = list(await connection.scalars(select(delivery_log.c.event).order_by(delivery_log.c.number)))
    assert events == ["generate", "begin", "place", "acknowledge"]


class Dying:
    """A folder whose worker dies at the `at`-th call, before or after it was done; swept at once, like a quick LIMS."""

    def __init__(self, drop: Path, at: int, *, before: bool, arrived: list[bytes]) -> None:
        self._folder, self._drop, self._before, self._left = Folder(drop), drop, before, at
        self._arrived = arrived

    async def prepare(self, file: Outgoing) -> Place:
        """As the folder does it."""
        self._die(before=True)
        place = await self._folder.prepare(file)
        self._die(before=False)
        return place

    async def finish(self, file: Outgoing, place: Place) -> bool:
        """As the folder does it; then the sweep."""
        self._die(before=True)
        has_it = await self._folder.finish(file, place)
        for name in names(self._drop):
            self._arrived.append((self._drop / name).read_bytes())
            (self._drop / name).unlink()
        self._die(before=False)
        return has_it

    async def taken(self, file: Outgoing, place: Place) -> bool:
        """As the folder does it."""
        return await self._folder.taken(file, place)

    def _die(self, *, before: bool) -> None:
        if before == self._before:
            self._left -= 1
            if self._left == 0:
                raise InterruptedError


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", [1, 2])
async def test_a_worker_that_dies_at_any_step_is_followed_by_one_that_places_nothing_twice(
    engine: AsyncEngine, drop: Path, at: int, before: bool
) -> None:
    clock, arrived = Clock(), list[bytes]()
    await make_delivery(engine)
    with pytest.raises(InterruptedError):
        await work(engine, worker(clock, Dying(drop, at, before=before, arrived=arrived)))
    assert await work(engine, worker(clock, Folder(drop))) == 0  # the lease of the dead one still runs
    clock.tick(LEASE.total_seconds() + 1)
    await work(engine, worker(clock, Dying(drop, 0, before=True, arrived=arrived)))
    clock.tick(60)
    await work(engine, worker(clock, Folder(drop)))
    assert arrived == [render(TITRES, make_results()).content]
    assert await states(engine) == [("acknowledged", None)]
    assert list(drop.iterdir()) == []


async def test_a_bug_in_one_delivery_holds_up_no_other(engine: AsyncEngine, drop: Path) -> None:
    clock = Clock()
    for number in (1, 2):
        await make_delivery(engine, f"d000000{number}", number)

    class Buggy(Folder):
        async def prepare(self, file: Outgoing) -> Place:
            if file.id == "d0000001":
                raise KeyError("secret")
            return await super().prepare(file)

    await work(engine, worker(clock, Buggy(drop)))
    assert await states(engine) == [("generated", "an error of ours, KeyError"), ("placed", None)]
    clock.tick(60)
    await work(engine, worker(clock, Folder(drop)))
    assert [state for state, _ in await states(engine)] == ["placed", "placed"]


async def test_two_workers_at_once_place_each_file_once(engine: AsyncEngine, drop: Path) -> None:
    clock = Clock()
    for number in range(1, 7):
        await make_delivery(engine, f"d000000{number}", number)
    one, other = worker(clock, Folder(drop)), worker(clock, Folder(drop))
    looked = [await work(engine, each) for each in (one, other)]
    assert sorted(looked) == [0, 6]
    assert len(names(drop)) == 6


def troubles() -> Iterator[tuple[str, Any, str]]:
    """(name, what is done to the folder, what is said)."""
    yield "gone", lambda drop: drop.rmdir(), "cannot be opened: No such file.*share is mounted"
    yield "a file", lambda drop: (drop.rmdir(), drop.write_text("x")), "cannot be opened: Not a directory"


@pytest.mark.parametrize(("trouble", "said"), [pytest.param(do, said, id=name) for name, do, said in troubles()])
async def test_a_folder_in_trouble_is_tried_again_and_says_what_to_do(
    engine: AsyncEngine, drop: Path, trouble: Any, said: str
) -> None:
    clock = Clock()
    await make_delivery(engine)
    trouble(drop)
    await work(engine, worker(clock, Folder(drop)))
    ((state, error),) = await states(engine)
    assert state == "generated"
    with pytest.raises(TargetError, match=said):
        await Folder(drop).prepare(FILE)
    assert error is not None
    if drop.is_file():
        drop.unlink()
    drop.mkdir()
    clock.tick(LEASE.total_seconds() + 1)
    await work(engine, worker(clock, Folder(drop)))
    assert await states(engine) == [("placed", None)]


async def test_a_name_that_is_there_already_is_never_written_over(engine: AsyncEngine, drop: Path) -> None:
    name = render(TITRES, make_results()).name
    (drop / name).write_text("somebody's")
    await make_delivery(engine)
    await work(engine, worker(Clock(), Folder(drop)))
    ((state, error),) = await states(engine)
    assert state == "failed"
    assert error is not None
    assert "send again under a new name" in error
    assert (drop / name).read_text() == "somebody's"


async def test_another_folder_under_the_same_path_is_not_the_one_that_has_the_file(drop: Path) -> None:
    place = await Folder(drop).prepare(FILE)
    drop.rename(drop.with_name("unmounted"))
    drop.mkdir()
    with pytest.raises(TargetError, match="another folder"):
        await Folder(drop).finish(FILE, place)
    assert not await Folder(drop).taken(FILE, place)


async def test_an_unfinished_file_that_somebody_changed_is_not_handed_over(drop: Path) -> None:
    place = await Folder(drop).prepare(FILE)
    (part,) = drop.iterdir()
    part.write_bytes(b"1,3\n")
    with pytest.raises(TargetError, match="was changed"):
        await Folder(drop).finish(FILE, place)
    assert names(drop) == []


async def test_a_link_in_the_folder_leads_nowhere(drop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "elsewhere"
    monkeypatch.setattr(folder, "token_hex", lambda _: "guessed")
    (drop / f".{FILE.name}.{FILE.id[:8]}.guessed.part").symlink_to(target)
    with pytest.raises(TargetError, match="does not take the file"):
        await Folder(drop).prepare(FILE)
    assert not target.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_folder_that_may_not_be_written_says_who_must_change_that(drop: Path) -> None:
    drop.chmod(0o500)
    with pytest.raises(TargetError, match="let central's user write there"):
        await Folder(drop).prepare(FILE)


async def test_a_worker_whose_lease_ran_out_changes_nothing_that_another_did(engine: AsyncEngine, drop: Path) -> None:
    clock = Clock()
    await make_delivery(engine)

    class Slow(Folder):
        async def prepare(self, file: Outgoing) -> Place:
            place = await super().prepare(file)
            clock.tick(LEASE.total_seconds() + 1)
            await work(engine, worker(clock, Folder(drop)))
            return place

    await work(engine, worker(clock, Slow(drop)))
    assert await states(engine) == [("placed", None)]
    assert len(names(drop)) == 1


async def test_a_worker_who_was_held_up_while_it_wrote_does_not_bring_back_what_was_swept(
    engine: AsyncEngine, drop: Path
) -> None:
    clock, arrived = Clock(), list[bytes]()
    await make_delivery(engine)

    class HeldUp(Folder):
        async def prepare(self, file: Outgoing) -> Place:
            clock.tick(LEASE.total_seconds() + 1)
            with pytest.raises(InterruptedError):  # another gives the name, and dies before it can write that down
                await work(engine, worker(clock, Dying(drop, 2, before=False, arrived=arrived)))
            return await super().prepare(file)

    await work(engine, worker(clock, HeldUp(drop)))
    clock.tick(LEASE.total_seconds() + 1)
    await work(engine, worker(clock, Dying(drop, 0, before=True, arrived=arrived)))
    clock.tick(60)
    await work(engine, worker(clock, Folder(drop)))
    assert arrived == [render(TITRES, make_results()).content]
    assert await states(engine) == [("acknowledged", None)]
    assert list(drop.iterdir()) == []


async def test_what_was_half_written_into_a_full_folder_does_not_stay(
    drop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(folder.os, "fsync", full)
    with pytest.raises(TargetError, match="make room there"):
        await Folder(drop).prepare(FILE)
    assert list(drop.iterdir()) == []


async def test_what_was_given_up_is_not_tried_again(engine: AsyncEngine, drop: Path) -> None:
    clock = Clock()
    await make_delivery(engine)
    async with transaction(engine) as connection:
        await connection.execute(update(deliveries).values(attempts=99))
    drop.rmdir()
    await work(engine, worker(clock, Folder(drop)))
    assert (await states(engine))[0][0] == "failed"
    clock.tick(timedelta(days=1).total_seconds())
    assert await work(engine, worker(clock, Folder(drop))) == 0

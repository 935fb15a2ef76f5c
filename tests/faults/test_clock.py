"""E7: a reader whose clock lies, jumps and wakes up in 1970 loses nothing and keeps its order; its times are put right.

In simulated clocks: schedules of plates, jumps, power cuts, time servers and a central that is heard now and then, with
the real clock, outbox and reading. As a process: a real agent under libfaketime, whose clock is moved while it reads.
"""

import random
import shutil
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from edge_agent.agent import Reader, Seen, keep
from edge_agent.barcode import FoundCode
from edge_agent.cameras.frame import Frame
from edge_agent.clock import AGREES_S, EARLIEST, BootClock, Moment, read_boot_id, system_quality
from edge_agent.clock_floor import floor, save_clock
from edge_agent.config import Config
from edge_agent.outbox.outbox import Outbox
from edge_agent.progress import Progress
from edge_agent.troubles import Troubles
from edge_agent.vision import Photograph, PlateView
from protocol import codec
from protocol.messages import ClockQuality, PlateReading
from provisioning.processes import module_command, running, wait_for
from tests.faults.record import Result, is_full_run, record, times
from tests.make import NOON, make_code, make_reading
from tests.system.conftest import Bench, bench, photograph

__all__ = ["bench", "photograph"]

SCHEDULES: Final = times(200, 500)
DAY_S: Final = 86400.0
JUMPS_S: Final = (1, -1, 3600, -3600, 30 * DAY_S, -30 * DAY_S, 3650 * DAY_S, -3650 * DAY_S)
SET_TO: Final = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2038, 1, 19, 3, 14, 7, tzinfo=UTC))
PHOTOGRAPH: Final = b"photograph" * 50

pytestmark = [pytest.mark.system, pytest.mark.proof("E7")]


@dataclass
class Plate:
    """What is true of one capture, whatever the reader believed."""

    id: str
    at: datetime
    boot: int
    moment: Moment
    # Whether a time server or central vouched for the wall clock since the plate before.
    vouched_for: bool


@dataclass
class World:
    """True time, and a machine in it: a crystal that is a little off, and a wall clock that anything may set."""

    chance: random.Random
    true_at: datetime = NOON
    boot: int = 0
    boot_at: datetime = NOON
    wall_ahead_s: float = 0.0
    quality: ClockQuality = "unsynchronised"
    faults: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.crystal = 1 + self.chance.uniform(-10, 10) * 1e-6

    def clocks(self) -> Moment:
        """What the machine's clocks show."""
        monotonic_s = (self.true_at - self.boot_at).total_seconds() * self.crystal
        return Moment(self.true_at + timedelta(seconds=self.wall_ahead_s), int(monotonic_s * 1e9))

    def pass_by(self, most_s: float) -> None:
        """Some time goes by."""
        self.true_at += timedelta(seconds=self.chance.uniform(0.01, most_s))

    def jump(self) -> None:
        """Somebody or something sets the wall clock."""
        self.quality = "unsynchronised"
        if self.chance.random() < 0.25:
            self.wall_ahead_s = (self.chance.choice(SET_TO) - self.true_at).total_seconds()
            self.faults["set to 1970 or 2038"] += 1
        else:
            self.wall_ahead_s += self.chance.choice(JUMPS_S)
            self.faults["jump"] += 1

    def synchronise(self) -> None:
        """A time server is reached."""
        self.wall_ahead_s, self.quality = 0.0, "synchronised"
        self.faults["synchronised"] += 1

    def cut_power(self) -> None:
        """Off for up to three days; without a battery clock the machine wakes up in 1970."""
        self.pass_by(3 * DAY_S)
        self.boot, self.boot_at, self.quality = self.boot + 1, self.true_at, "unsynchronised"
        if self.chance.random() < 0.7:
            self.wall_ahead_s = (SET_TO[0] - self.true_at).total_seconds()
        self.faults["power cut"] += 1


class Life:
    """A reader's life in a world, on one state folder."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.world, self.plates, self.vouched_for = World(self.chance), list[Plate](), False
        self._wake()

    def _wake(self) -> None:
        world, self.heard = self.world, False
        self.clock = BootClock(
            f"boot-{world.boot}", floor=floor(self.folder), clocks=world.clocks, quality=lambda: world.quality
        )
        self.outbox = Outbox(self.folder, session=f"s{world.boot}", clocks=self.clock, ballast_bytes=4096)
        self.reader = Reader(
            config=Config(state_dir=self.folder), device_id="bench-1", model=make_reading(1).model, outbox=self.outbox,
            camera=NotAsked(), read=see, say=lambda _: None, clock=self.clock,
            random_bytes=self.chance.randbytes, troubles=Troubles(lambda: self.clock().at, lambda _: None),
            progress=Progress(),
        )  # fmt: skip

    def live(self, steps: int) -> None:
        """So many things happen."""
        happens = {
            self._capture: 8, self.world.jump: 3, self._hear: 3, self.world.synchronise: 1, self._save: 2,
            self._cut_power: 1,
        }  # fmt: skip
        for what in self.chance.choices(list(happens), list(happens.values()), k=steps):
            self.world.pass_by(self.chance.choice((1.0, 60.0, 6 * 3600.0)))
            self._look()
            what()
        self._capture()

    def _look(self) -> Moment:
        """As the main loop does all the time."""
        world = self.world
        agrees = self.heard and abs(world.wall_ahead_s) <= AGREES_S + 1
        self.vouched_for |= world.quality == "synchronised" or agrees
        return self.clock()

    def _capture(self) -> None:
        moment, world = self._look(), self.world
        true_at, vouched_for, self.vouched_for = world.true_at, self.vouched_for, False
        frame = Frame(PHOTOGRAPH, f"{len(self.plates)}.jpg", moment.at, moment.monotonic_ns)
        if self.chance.random() < 0.2:
            # In the middle of reading the plate.
            world.pass_by(3.0)
            world.jump()
        event = keep(self.reader, frame)
        assert event["event"] == "saved", event
        self.plates.append(Plate(event["id"], true_at, world.boot, moment, vouched_for))

    def _hear(self) -> None:
        self.clock.heard(self.world.true_at, self._look())
        self.heard = True
        self.world.faults["central heard"] += 1

    def _save(self) -> None:
        save_clock(self.folder, self.clock().at, self.clock.jumps())

    def _cut_power(self) -> None:
        self.outbox.close()
        self.world.cut_power()
        self._wake()

    def readings(self) -> list[PlateReading]:
        """What the outbox holds, in the order of its sequence numbers."""
        held = sorted(self.outbox.due(10_000), key=lambda one: one.seq)
        return [codec.decode_reading(sent.document) for one in held for sent in self.outbox.send([one.id])]


class NotAsked:
    """A camera that this test does without."""

    def capture(self) -> Frame | None:
        raise AssertionError("nobody photographs here")

    check = close = lambda self: None


def see(frame: Frame) -> Seen:
    pattern = make_reading(1)
    picture = Photograph(None, 320, 240, "image/jpeg")  # type: ignore[arg-type]
    return Seen(PlateView(pattern.plate, pattern.wells, pattern.quality, {}, picture), FoundCode(make_code()))


def assert_times_are_as_they_must_be(life: Life) -> float:
    """The worst error (s) of a capture time that was put right by central's answer within a day of it."""
    readings, worst_s = life.readings(), 0.0
    assert [one.id for one in readings] == [plate.id for plate in life.plates]
    for reading, plate in zip(readings, life.plates, strict=True):
        assert (reading.captured_at, reading.clock.monotonic_ns) == (plate.moment.at, plate.moment.monotonic_ns)
        assert reading.clock.boot_id == f"boot-{plate.boot}"
        assert reading.captured_at.year >= 2026
        if reading.clock.offset_s is not None:
            right = reading.captured_at - timedelta(seconds=reading.clock.offset_s)
            worst_s = max(worst_s, abs((right - plate.at).total_seconds()))
    for before, after in zip(life.plates, life.plates[1:], strict=False):
        assert after.moment.at >= before.moment.at or after.vouched_for, (before, after)
    return worst_s


def test_no_jump_of_a_clock_loses_a_reading_or_its_place(memory_folder: Path) -> None:
    began_s, faults, plates, worst_s = time.monotonic(), Counter[str](), 0, 0.0
    for seed in range(SCHEDULES):
        folder = memory_folder / "state"
        life = Life(folder, seed)
        life.live(12)
        worst_s = max(worst_s, assert_times_are_as_they_must_be(life))
        life.outbox.close()
        shutil.rmtree(folder)
        plates += len(life.plates)
        faults.update(life.world.faults)
    assert plates > 4 * SCHEDULES
    assert worst_s <= 1.0
    record(
        Result(
            id="E7", part="schedules", title="Schedules of a clock that lies, jumps and wakes up in 1970",
            counts={"schedules": SCHEDULES, "readings": plates}, seeds=f"0…{SCHEDULES - 1}", faults=dict(faults),
            acked=plates, lost=0, doubled=0, altered=0, worst_latency_s=worst_s,
            latency_of="from the true time of capture, put right by central's clock",
            seconds=time.monotonic() - began_s, full=is_full_run(),
        )
    )  # fmt: skip


class Faketime:
    """A real agent's wall clock, moved from outside while it runs; its monotonic clock is left alone."""

    def __init__(self, folder: Path) -> None:
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            pytest.skip("libfaketime is not installed (apt-get install faketime)")
        self._file = folder / "wall-clock"
        self.environment = {
            "LD_PRELOAD": str(libraries[0]), "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
        }  # fmt: skip

    def set(self, ahead: str) -> None:
        """So far ahead of the true time, as `+30d`, `-56y`."""
        part = self._file.with_suffix(".part")
        part.write_text(f"{ahead}\n")
        part.rename(self._file)


def test_a_real_agent_whose_clock_is_moved_keeps_every_plate_in_its_order(bench: Bench, photograph: Path) -> None:
    began_s, wall = time.monotonic(), Faketime(bench.state.parent)
    jumps = ("-56y", "+0", "+10y", "-1h", "-30d", "+11y")
    wall.set(jumps[0])
    command = module_command(
        "edge_agent", "run", "--state-dir", str(bench.state), "--folder", str(bench.inbox), "--json"
    )
    began_at = datetime.now(UTC)
    with running(command, bench.log, stdout=bench.events_file, extra=wall.environment):
        for number, ahead in enumerate(jumps):
            wall.set(ahead)
            bench.show(photograph, f"{number}.jpg")
            wait_for(f"plate {number}", lambda n=number: len(bench.events("saved")) > n or None, 90)  # type: ignore[misc]
    with closing(Outbox(bench.state, session="look")) as outbox:
        held = sorted(outbox.due(100), key=lambda one: one.seq)
        readings = [codec.decode_reading(sent.document) for one in held for sent in outbox.send([one.id])]
    assert [one.id for one in readings] == [event["id"] for event in bench.events("saved")]
    assert len(readings) == len(jumps)
    assert min(one.captured_at for one in readings) >= EARLIEST
    assert {one.clock.boot_id for one in readings} == {read_boot_id()}
    monotonic = [one.clock.monotonic_ns for one in readings]
    assert monotonic == sorted(set(monotonic))
    # No time server vouches for such a clock, so no plate is older than the one before.
    if system_quality() != "synchronised":
        assert [one.captured_at for one in readings] == sorted(one.captured_at for one in readings)
        assert bench.events("trouble")[0]["part"] == "clock"
    # The monotonic clock says when each plate truly was, counted from the first.
    assert all(0 <= (one - monotonic[0]) / 1e9 <= (datetime.now(UTC) - began_at).total_seconds() for one in monotonic)
    record(
        Result(
            id="E7", part="process", title="A real agent whose wall clock is moved while it reads (libfaketime)",
            counts={"readings": len(readings)}, faults={"jump": len(jumps)}, acked=len(readings), lost=0, doubled=0,
            altered=0, seconds=time.monotonic() - began_s, full=is_full_run(), notes=f"set to {', '.join(jumps)}",
        )
    )  # fmt: skip

"""E8: a bad line between readers and their broker. Nothing is lost or doubled, and a healed line is used at once."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from edge_agent.link.sync import reconnect_delay_s
from provisioning.processes import running_central, wait_for
from tests.faults.fleet import Reader, all_answered
from tests.faults.oracle import Oracle
from tests.faults.proxy import CLEAR, Proxy, Weather, proxy, storms
from tests.faults.record import PATIENCE, Result, is_full_run, record, times
from tests.faults.wire import verdict_of
from tests.system.conftest import add_admin

SEED = 31
READERS = 2
# Goals: a dead line is noticed, and a healed one used, within these times.
NOTICED_S = 30.0
USED_AGAIN_S = 10.0

pytestmark = [pytest.mark.system, pytest.mark.proof("E8")]


class Line:
    """Readers whose way to the broker leads through a proxy."""

    def __init__(self, readers: list[Reader], through: Proxy, oracle: Oracle, database: str) -> None:
        self.readers, self.proxy, self.oracle, self.database = readers, through, oracle, database
        self.captured = 0

    def capture(self) -> None:
        """One more reading on each reader."""
        self.captured += 1
        for reader in self.readers:
            reader.capture(self.captured)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("laboratory")
    data_dir, oracle = folder / "central", Oracle(folder / "oracle")
    with ExitStack() as stack:
        central = stack.enter_context(running_central(data_dir))
        add_admin(data_dir)
        readers = [Reader(folder / f"reader-{n}", oracle, seed=n) for n in range(1, READERS + 1)]
        for reader in readers:
            stack.callback(reader.close)
            reader.enrol(central)
        first = readers[0].access
        assert first is not None
        through = stack.enter_context(proxy(first.enrolment.broker.port, SEED))
        for reader in readers:
            assert reader.access is not None
            reader.access = reader.through(reader.access, through.port)
            stack.enter_context(reader.talking())
        yield Line(readers, through, oracle, f"sqlite+aiosqlite:///{data_dir / 'central.db'}")


def seconds_until(condition: Callable[[], object], within_s: float, what: str) -> float:
    started_s = time.monotonic()
    wait_for(what, lambda: True if condition() else None, within_s)
    return time.monotonic() - started_s


def test_a_storm_of_every_kind_loses_and_doubles_nothing(line: Line) -> None:
    storm_s, started_s = times(18, 1800), time.monotonic()
    kinds: Counter[str] = Counter()
    for name, weather, lasting_s in storms(SEED):
        if time.monotonic() - started_s > storm_s:
            break
        kinds[name] += name != "calm"
        line.proxy.weather = weather
        if name in ("cut", "reset"):
            line.proxy.cut(reset=name == "reset")
        until_s = time.monotonic() + lasting_s
        while time.monotonic() < until_s:
            line.capture()
            time.sleep(0.25)
    line.proxy.weather = Weather(half_open=True)
    line.capture()
    time.sleep(1)
    line.proxy.cut()
    line.proxy.weather = CLEAR
    before = sum(reader.waits() for reader in line.readers)
    used_again_s = seconds_until(
        lambda: sum(reader.waits() for reader in line.readers) < before, 60, "an answer after the line healed"
    )
    all_answered(line.readers, 120)
    verdict = asyncio.run(verdict_of(line.database, line.oracle.path))
    faults = {name: n for name, n in (kinds + line.proxy.done).items() if n and name not in ("cuts", "resets")}
    record(
        Result(
            id="E8", part="chaos", title=f"A bad line for {storm_s:.0f} s between {READERS} readers and the broker",
            faults=faults, seeds=f"{SEED}", acked=verdict.saved, lost=len(verdict.lost), doubled=len(verdict.doubled),
            altered=len(verdict.altered) + len(verdict.strange), misattributed=len(verdict.misattributed),
            worst_latency_s=used_again_s, latency_of="from healing to the first answer",
            seconds=time.monotonic() - started_s, full=is_full_run(),
        )
    )  # fmt: skip
    assert verdict.clean
    assert verdict.saved == line.captured * READERS
    assert used_again_s <= PATIENCE * USED_AGAIN_S


def test_a_thousand_readers_that_lost_their_broker_do_not_knock_together() -> None:
    """In virtual time: the broker is away for a minute; when it is back, each second sees a part of them."""
    clients, back_s = 1000, 60.0
    chance = random.Random(SEED)
    knocks: list[float] = []
    for _ in range(clients):
        at_s = 0.0
        while at_s < back_s:
            at_s += reconnect_delay_s(chance.uniform(-1, 1))
        knocks.append(at_s - back_s)
    in_a_second = [sum(start / 4 <= knock < start / 4 + 1 for knock in knocks) for start in range(40)]
    record(
        Result(
            id="E8", part="fleet", title=f"{clients} readers come back to a broker that was away for a minute",
            seeds=f"{SEED}", acked=0, lost=0, doubled=0, altered=0, seconds=0.0, worst_latency_s=max(knocks),
            latency_of="until the last one is back", notes=f"at most {max(in_a_second)} in any second, virtual time",
            full=is_full_run(),
        )
    )  # fmt: skip
    assert max(in_a_second) <= clients // 4
    assert max(knocks) <= USED_AGAIN_S


def test_a_half_open_line_is_noticed_and_a_healed_one_used(line: Line) -> None:
    line.capture()
    all_answered(line.readers, 30)
    closed = len(line.proxy.closed_by_client_s)
    line.proxy.weather = Weather(half_open=True)
    line.capture()
    noticed_s = seconds_until(
        lambda: len(line.proxy.closed_by_client_s) >= closed + READERS,
        PATIENCE * NOTICED_S,
        "every reader giving up its dead line",
    )
    line.proxy.weather = CLEAR
    line.proxy.cut()
    used_s = seconds_until(lambda: not any(reader.waits() for reader in line.readers), 60, "an answer")
    record(
        Result(
            id="E8", part="half-open", title="A line that takes everything and answers nothing", acked=2 * READERS,
            lost=0, doubled=0, altered=0, faults={"half-open lines": READERS}, worst_latency_s=noticed_s,
            latency_of="to notice", seconds=noticed_s + used_s, full=is_full_run(),
            notes=f"{used_s:.1f} s from healing to the first answer",
        )
    )  # fmt: skip
    assert noticed_s <= PATIENCE * NOTICED_S
    assert used_s <= PATIENCE * USED_AGAIN_S

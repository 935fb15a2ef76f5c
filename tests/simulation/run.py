"""A simulated life of a laboratory, drawn from a seed, played, healed and judged."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import structlog

from central.intake.accounts import ASK_AT_MOST_EVERY, HOLE_OPEN, WATCH_EVERY_S
from edge_agent.link.conversation import LEDGER_EVERY_S
from edge_agent.outbox.rows import PictureState
from protocol.delivery import LONGEST_RETRY_S, State
from tests.simulation import faults
from tests.simulation.broker import Broker, Wire
from tests.simulation.card import CardOutbox
from tests.simulation.faults import KINDS, Fleet
from tests.simulation.frail import OpenOutbox
from tests.simulation.laboratory import Central, Laboratory
from tests.simulation.oracle import InvariantError, Oracle
from tests.simulation.reader import Reader
from tests.simulation.table import Store, Table
from tests.simulation.world import World

DAY_S: Final = 86400.0
# After the last fault: all answered within this time. Two of the longest waits, and the reconnecting.
ALIVE_WITHIN_S: Final = 3 * LONGEST_RETRY_S
# And every place that central lacks is filled within this: it asks once an hour, and an answer takes its time.
GAPS_WITHIN_S: Final = (HOLE_OPEN + ASK_AT_MOST_EVERY).total_seconds() + 2 * WATCH_EVERY_S + ALIVE_WITHIN_S
SETTLE_S: Final = 1800.0
UPLOAD_EVERY_S: Final = 600.0


@dataclass(frozen=True)
class Life:
    """What is drawn from a seed before anything happens."""

    days: float
    devices: int
    brokers: int
    readings: int
    idle_s: float
    wire: Wire
    kinds: tuple[str, ...]
    faults: int


@dataclass
class Report:
    """What a simulation came to. `wrong` names the invariant that did not hold; empty where all did."""

    seed: int
    wrong: str = ""
    digest: str = ""
    steps: int = 0
    device_days: float = 0.0
    acknowledged: int = 0
    runs: int = 0
    sendings: int = 0
    ledgers: int = 0
    missed: int = 0
    lost_with_card: int = 0
    unreadable: int = 0
    healed_s: float = 0.0
    gaps_s: float = 0.0
    worst_wait_s: float = 0.0
    cpu_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)


def draw(world: World, days: float | None = None) -> Life:
    """A life. Each seed has its own few kinds of trouble: all at once would hide one behind another."""
    random = world.random
    days = days if days is not None else random.choice((0.05, 0.2, 0.5, 1.0, 2.5))
    kinds = [kind.__name__ for kind in KINDS if random.random() < 0.35]
    wire = Wire(
        delay_s=random.choice((0.005, 0.05, 0.5)),
        drop=random.choice((0.0, 0.0, 0.05, 0.2)),
        double=random.choice((0.0, 0.05, 0.2)),
        refuse=random.choice((0.0, 0.0, 0.05)),
        slow=random.choice((0.0, 0.0, 0.02)),
        jumbled=random.random() < 0.3,
    )
    return Life(
        days, random.choice((1, 2, 2, 3, 4, 6)), random.choice((1, 1, 2)), random.choice((5, 15, 40)),
        random.choice((300.0, 900.0, 1800.0)), wire, tuple(kinds), random.choice((2, 5, 12)),
    )  # fmt: skip


def simulate(
    seed: int,
    *,
    days: float | None = None,
    life: Callable[[Life], Life] = lambda drawn: drawn,
    show: Callable[[str], None] | None = None,
    open_outbox: OpenOutbox = CardOutbox,
    new_store: Callable[[], Store] = Table,
) -> Report:
    """Play one seed. `days` and `life` change what was drawn; the model's parts may be replaced by the real ones."""
    started_s = time.process_time()
    world, oracle = World(seed, show), Oracle()
    report = Report(seed)
    with quiet():
        fleet = build(world, oracle, life(draw(world, days)), open_outbox, new_store)
        try:
            _play(fleet, report)
        except InvariantError as error:
            report.wrong = str(error)
        finally:
            for reader in fleet.readers:
                reader.stop()
    report.digest, report.steps = world.digest, world.steps
    report.device_days = len(fleet.readers) * world.now_s / DAY_S
    report.acknowledged, report.sendings = oracle.acknowledged, oracle.sendings
    report.ledgers, report.missed, report.lost_with_card = oracle.ledgers, oracle.missed, oracle.lost_with_card
    report.worst_wait_s, report.faults = oracle.worst_wait_s, oracle.faults
    report.unreadable = sum(one.is_unreadable for one in oracle.promises.values())
    report.cpu_s = time.process_time() - started_s
    return report


def build(
    world: World, oracle: Oracle, life: Life, open_outbox: OpenOutbox, new_store: Callable[[], Store]
) -> Fleet:  # fmt: skip
    """Everything that a life needs, with its faults and captures already in the calendar."""
    laboratory = Laboratory(world, oracle, new_store())
    brokers = [Broker(world, f"broker-{number}", life.wire) for number in range(life.brokers)]
    centrals = [Central(laboratory, "central", brokers)]
    fleet = Fleet(world, oracle, laboratory, brokers, centrals, [], life.wire, life.days * DAY_S)
    for number in range(1, life.devices + 1):
        device_id = f"bench-{number}"
        card = fleet.new_card()
        card.owner = device_id
        laboratory.store.enrol(device_id, revoked=False)
        reader = Reader(
            world, oracle, device_id, card, brokers=brokers, idle_s=life.idle_s, open_outbox=open_outbox
        )  # fmt: skip
        fleet.readers.append(reader)
    fleet.centrals[0].start()
    for reader in fleet.readers:
        world.after(world.between(0, 60), reader.start)
        _upload_now_and_then(fleet, reader)
    _fill_calendar(fleet, life)
    return fleet


def _upload_now_and_then(fleet: Fleet, reader: Reader) -> None:
    agent = reader.agent
    if agent is not None:
        agent.guarded(lambda: agent.upload(to=fleet.laboratory.upload))
    fleet.world.after(UPLOAD_EVERY_S, lambda: _upload_now_and_then(fleet, reader))


def _fill_calendar(fleet: Fleet, life: Life) -> None:
    world, span_s = fleet.world, fleet.span_s
    for reader in fleet.readers:
        for _ in range(life.readings):
            at_s = world.between(0, span_s)
            burst = world.random.choice((1, 1, 1, 4, 40)) if world.chance(0.1) else 1
            for number in range(burst):
                world.after(at_s + number * world.around(5), reader.capture)
    at_s = 0.0
    while at_s < span_s:
        world.after(at_s, fleet.back_up)
        at_s += min(DAY_S, span_s / 4)
    for name in life.kinds:
        fault = getattr(faults, name)
        for _ in range(world.random.randint(1, life.faults)):
            world.after(world.between(0, span_s), partial(_happens, fleet, name, fault))


def _happens(fleet: Fleet, name: str, fault: faults.Fault) -> None:
    fleet.world.tell("fault", name)
    fleet.oracle.faults[name.replace("_", " ")] += 1
    fault(fleet)


def _play(fleet: Fleet, report: Report) -> None:
    world = fleet.world
    world.play(fleet.span_s)
    fleet.heal()
    world.tell("heals")
    healed_s = world.now_s
    # A person mends cards and retries what is set aside, until nothing is left that could be.
    world.play(world.now_s + 60)
    fleet.mend_cards()
    for reader in fleet.readers:
        faults.retry(reader)
    done = world.play(healed_s + 60 + ALIVE_WITHIN_S, lambda: _is_quiet(fleet))
    report.healed_s = world.now_s - healed_s
    if not done:
        waiting = {reader.device_id: len(reader.card.pending) for reader in fleet.readers}
        raise InvariantError(f"I8: {waiting} still wait {ALIVE_WITHIN_S:.0f} s after the last fault")
    last_s = world.now_s + GAPS_WITHIN_S
    world.play(world.now_s + SETTLE_S)
    while fleet.laboratory.store.lowest_holes() and world.now_s < last_s:
        world.play(world.now_s + WATCH_EVERY_S)
    report.gaps_s = world.now_s - healed_s
    if _pictures_lacking(fleet):
        # Central was set back while it ran, and nobody noticed: the next daily account tells.
        world.play(world.now_s + LEDGER_EVERY_S + SETTLE_S)
    _judge(fleet, report)


def _is_quiet(fleet: Fleet) -> bool:
    return not any(reader.card.pending for reader in fleet.readers)


def _judge(fleet: Fleet, report: Report) -> None:
    store, oracle = fleet.laboratory.store, fleet.oracle
    runs = store.runs()
    report.runs = len(runs)
    oracle.judge_runs(
        ((run.id, run.digest, run.document, run.place) for run in runs),
        (f"{run.id},{run.place[0]},{run.place[2]}" for run in runs),
    )
    there = {run.id: run.digest for run in runs}
    held = {one: digest for card in _cards(fleet) for one, digest in card.held().items()}
    oracle.judge_loss(there, held, store.letters())
    for reader in fleet.readers:
        _judge_reader(fleet, reader)


def _pictures_lacking(fleet: Fleet) -> list[str]:
    """Pictures of runs that are not in central although a bench has them."""
    lacking = {run.picture for run in fleet.laboratory.store.runs()} - set(fleet.laboratory.store.pictures())
    rows = [row for reader in fleet.readers for row in reader.card.rows.values()]
    return [row.picture for row in rows if row.picture in lacking and row.picture_state is not PictureState.NONE]


def _cards(fleet: Fleet) -> Iterator[Any]:
    yield from (reader.card for reader in fleet.readers)
    yield from fleet.retired


def _judge_reader(fleet: Fleet, reader: Reader) -> None:
    """I4, I7 and what central says of a device."""
    agent = reader.agent
    assert agent is not None
    status = fleet.laboratory.store.status(reader.device_id)
    rows = list(reader.card.rows.values())
    quarantined = sum(row.state is State.QUARANTINED for row in rows)
    if status is None or not status.online or status.session != agent.session or status.outbox is None:
        raise InvariantError(f"central believes {status} of {reader.device_id}, which is there as {agent.session}")
    told = status.outbox.epoch, status.outbox.last_seq, status.outbox.pending, status.outbox.quarantined
    if told != (reader.card.epoch, reader.card.last_seq, 0, quarantined):
        raise InvariantError(f"I4: {reader.device_id} is told of as {told}, but is {reader.card.last_seq}")
    lacking = _pictures_lacking(fleet)
    if lacking:
        raise InvariantError(f"I8: central lacks pictures that are on a bench and does not ask for them: {lacking[:3]}")
    hole = fleet.laboratory.store.lowest_holes().get(reader.device_id)
    if hole is not None and not quarantined and not fleet.oracle.is_beyond_reach((reader.device_id, *hole)):
        raise InvariantError(f"I4: central misses places of {reader.device_id} from {hole} on")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the log: a simulation says what happened by its trace."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)

"""Central in the simulation: its own plan and decision around a table in memory, dying between any two steps.

What is committed is in the `Table`, survives every crash, and may be set back to an older copy. A batch is taken,
decided, committed and answered in separate moments, as `central.mqtt` and `central.ingest` do it; several centrals may
work on one table.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from typing import Final, Protocol

import msgspec

from central.accounts import LEDGER_AT_MOST_EVERY_S, WATCH_EVERY_S, Hole, asks
from central.decide import Answers, HeldRun, answers, decide
from central.fleet import _is_older
from central.gaps import account
from central.plan import Delivery, Place, Planned, Refused, plan, plan_ledger, plan_state
from edge_agent.conversation import Message
from protocol import codec, ledger, topics
from protocol.codec import decompress, encode
from protocol.messages import VERSION, Ack, CentralStatus, DeviceStatus, Ledger
from tests.simulation.broker import Broker, Line
from tests.simulation.oracle import Oracle
from tests.simulation.world import BEGIN, World

BATCH_S: Final = 0.015
BATCH: Final = 200


class AwayError(Exception):
    """The database cannot be used now: nothing is answered, the batch is tried again."""


@dataclass(frozen=True)
class Run:
    """A reading that was accepted."""

    id: str
    place: Place
    digest: str
    document: bytes
    day: str
    picture: str


class Store(Protocol):
    """What is durable of central: the model's `Table`, or the real database."""

    def commit(self, deliveries: Sequence[Delivery], now: datetime) -> tuple[Answers, Sequence[Run]]:
        """Commit a batch: what may now be answered, and the new runs."""

    def record_states(self, deliveries: Sequence[Delivery], now: datetime) -> None:
        """Keep what devices said of themselves."""

    def compare(self, told: Ledger) -> Sequence[Ack]:
        """The answers to a device's account."""

    def runs(self) -> Sequence[Run]:
        """Every run."""

    def letters(self) -> Counter[str]:
        """How often each reading was refused, by id."""

    def status(self, device_id: str) -> DeviceStatus | None:
        """What is known of a device."""

    def lowest_holes(self) -> dict[str, tuple[str, int]]:
        """(epoch, place) of the lowest place that is missing, of each device that is online and lacks one."""

    def enrol(self, device_id: str, *, revoked: bool) -> None:
        """Let a device deliver, or shut it out."""

    def keep_picture(self, picture: str) -> None:
        """A picture was uploaded."""

    def pictures(self) -> Collection[str]:
        """The pictures that are here."""

    def backup(self) -> object:
        """A copy."""

    def restore(self, backup: object) -> None:
        """Set everything back to a copy."""


@dataclass
class Table:
    """The durable part, in memory."""

    held: dict[str, Run] = field(default_factory=dict)
    places: dict[Place, str] = field(default_factory=dict)
    entries: dict[tuple[str, str, str], dict[int, str]] = field(default_factory=dict)
    refused: dict[tuple[str, str], tuple[Refused, int]] = field(default_factory=dict)
    statuses: dict[str, DeviceStatus] = field(default_factory=dict)
    enrolled: dict[str, bool] = field(default_factory=dict)
    images: dict[str, None] = field(default_factory=dict)

    def commit(self, deliveries: Sequence[Delivery], now: datetime) -> tuple[Answers, Sequence[Run]]:
        """Decide on a batch and commit it, all at once."""
        plans = [_planned(delivery) for delivery in deliveries]
        planned = [each for each in plans if isinstance(each, Planned)]
        ids = dict.fromkeys([each.id for each in planned if each.id in self.held])
        ids |= dict.fromkeys([self.places[each.place] for each in planned if each.place in self.places])
        known = [HeldRun(one, self.held[one].place, self.held[one].digest) for one in ids]
        known += [
            HeldRun(self.places[each.place], each.place, self.held[self.places[each.place]].digest)
            for each in planned
            if each.place in self.places
        ]
        decision = decide(plans, known, [one for one, may in self.enrolled.items() if may])
        new = [_run(each) for each in decision.new]
        for run in new:
            self.held[run.id] = run
            self._place(run.place, run)
        for each in decision.elsewhere:
            self._place(each.place, self.held[each.id])
        for no in decision.refused:
            key = no.delivery.topic, codec.digest(no.delivery.payload)
            self.refused[key] = no, self.refused.get(key, (no, 0))[1] + 1
        missing = {each.picture for each in decision.accepted} - self.images.keys()
        return answers(decision, missing, now), new

    def record_states(self, deliveries: Sequence[Delivery], now: datetime) -> None:
        """The last word of each device; a will of another session than the last birth's says nothing."""
        for delivery in deliveries:
            status = plan_state(delivery)
            if isinstance(status, Refused) or status.device_id not in self.enrolled:
                continue
            known = self.statuses.get(status.device_id)
            if known is not None:
                if not status.online and status.session != known.session:
                    continue
                if delivery.retained and _is_older(status.clock, known.clock):
                    continue
                if not status.online:
                    status = msgspec.structs.replace(known, online=False)
            self.statuses[status.device_id] = status

    def compare(self, told: Ledger) -> Sequence[Ack]:
        """Where the two accounts differ, and pictures that are not here; nothing for a device that is shut out."""
        if not self.enrolled.get(told.device_id):
            return ()
        held, wanted = [], {}
        for day in told.days:
            entries = self.entries.get((told.device_id, told.epoch, day.day), {})
            held.append(ledger.compare(day, [ledger.Entry(seq, digest) for seq, digest in entries.items()]))
        first = min((day.ranges[0][0] for day in told.days), default=None)
        for run in self.held.values():
            if first is not None and run.place[:2] == (told.device_id, told.epoch) and run.place[2] >= first:
                wanted[run.picture] = run.picture not in self.images
        lacking = tuple(picture for picture, lacks in wanted.items() if lacks)
        return (Ack(VERSION, told.epoch, held=tuple(one for one in held if one is not None), wanted=lacking),)

    def runs(self) -> Sequence[Run]:
        """Every run."""
        return list(self.held.values())

    def letters(self) -> Counter[str]:
        """How often each reading was refused."""
        counts: Counter[str] = Counter()
        for no, times in self.refused.values():
            counts[no.id or ""] += times
        return counts

    def status(self, device_id: str) -> DeviceStatus | None:
        """The last word of a device."""
        return self.statuses.get(device_id)

    def lowest_holes(self) -> dict[str, tuple[str, int]]:
        """Of each device that is online, the lowest place that is missing."""
        lowest = {}
        for device_id, status in self.statuses.items():
            if not status.online or status.outbox is None or not self.enrolled.get(device_id):
                continue
            epoch, last = status.outbox.epoch, status.outbox.last_seq
            held = [
                seq
                for (device, one, _), days in self.entries.items()
                if (device, one) == (device_id, epoch)
                for seq in days
            ]
            if len(held) == last:
                continue
            refused = [no.seq for no, _ in self.refused.values() if (no.device_id, no.epoch) == (device_id, epoch)]
            places = list(ledger.ranges_of(held))
            holes = account(epoch, places, [seq for seq in refused if seq], last, None).holes
            if holes:
                lowest[device_id] = epoch, holes[0][0]
        return lowest

    def enrol(self, device_id: str, *, revoked: bool) -> None:
        """Let a device deliver, or shut it out."""
        self.enrolled[device_id] = not revoked

    def keep_picture(self, picture: str) -> None:
        """A picture was uploaded."""
        self.images[picture] = None

    def pictures(self) -> Collection[str]:
        """The pictures that are here."""
        return self.images.keys()

    def backup(self) -> "Table":
        """A copy."""
        entries = {key: dict(days) for key, days in self.entries.items()}
        return Table(
            dict(self.held), dict(self.places), entries, dict(self.refused), dict(self.statuses), dict(self.enrolled),
            dict(self.images),
        )  # fmt: skip

    def restore(self, backup: object) -> None:
        """Everything as it was, but for who is enrolled: that is a person's matter and is put right at once."""
        assert isinstance(backup, Table)
        copy = backup.backup()
        self.held, self.places, self.entries = copy.held, copy.places, copy.entries
        self.refused, self.statuses, self.images = copy.refused, copy.statuses, copy.images

    def _place(self, place: Place, run: Run) -> None:
        self.places[place] = run.id
        self.entries.setdefault((place[0], place[1], run.day), {})[place[2]] = run.digest


@lru_cache(maxsize=2000)
def _planned(delivery: Delivery) -> Planned | Refused:
    """`plan` is pure and takes half a millisecond; many messages are repeats."""
    return plan(delivery, BEGIN)


def _run(each: Planned) -> Run:
    day = each.row["captured_at"].date().isoformat()
    return Run(each.id, each.place, each.digest, decompress(each.row["document"]), day, each.picture)


class Laboratory:
    """What outlives every central process: the database, its backups, the pictures; and the truth about it."""

    def __init__(self, world: World, oracle: Oracle, store: Store) -> None:
        """Nobody is enrolled yet."""
        self.world, self.oracle, self.store = world, oracle, store
        self.is_away, self.instances = False, 0

    def commit(self, deliveries: Sequence[Delivery]) -> Answers:
        """Commit a batch; the oracle hears what became a run."""
        if self.is_away:
            raise AwayError
        acks, new = self.store.commit(deliveries, self.world.now)
        for run in sorted(new, key=lambda run: run.place):
            self.world.tell("committed", run.id, *run.place)
            self.oracle.committed(run.id, run.digest, run.place, self.world.now_s)
        for _, ack in acks:
            for no in ack.rejected:
                self.world.tell("refused", no.code, no.id, no.seq)
        return acks

    def record_states(self, deliveries: Sequence[Delivery]) -> None:
        """Keep what devices say of themselves."""
        if self.is_away:
            raise AwayError
        if deliveries:
            self.store.record_states(deliveries, self.world.now)

    def upload(self, picture: str) -> bool:
        """A picture arrives over HTTP; whether it is here now."""
        if self.is_away:
            return False
        self.store.keep_picture(picture)
        return True


class Central:
    """One process of central. `crash_share` is how often it dies at any of its steps."""

    def __init__(self, laboratory: Laboratory, name: str, brokers: Sequence[Broker]) -> None:
        """`name` is its client id; it keeps a line to each broker."""
        self.laboratory, self.name, self.brokers = laboratory, name, brokers
        self.world, self.crash_share = laboratory.world, 0.0
        self.is_running, self._life, self._instance = False, 0, ""
        self._lines: list[Line] = []
        self._ends: list[_CentralEnd] = []
        self._batch: list[tuple[_CentralEnd, Delivery]] = []
        self._holes: dict[str, Hole] = {}
        self._ledgers: dict[str, tuple[_CentralEnd, Ledger]] = {}
        self._compared_s: dict[str, float] = {}

    def start(self) -> None:
        """Connect everywhere, as another instance than ever before."""
        if self.is_running:
            return
        self.laboratory.instances += 1
        self._life += 1
        self._instance = f"instance-{self.laboratory.instances}"
        self.is_running, self._batch = True, []
        self._holes, self._ledgers, self._compared_s = {}, {}, {}
        self.world.tell(self.name, "starts", self._instance)
        self._ends = [_CentralEnd(self, broker, self._life) for broker in self.brokers]
        for end in self._ends:
            end.connect()
        self._later(WATCH_EVERY_S, self._watch)

    def crash(self) -> None:
        """It dies here; what was not committed is gone."""
        if self.is_running:
            self.world.tell(self.name, "crashes")
            self.is_running = False
            self._life += 1
            for end in self._ends:
                if end.line is not None:
                    end.line.close(goodbye=False)
            self._ends, self._batch = [], []

    def status(self, *, online: bool) -> Message:
        """Its retained presence."""
        return Message(topics.CENTRAL_STATE, encode(CentralStatus(VERSION, online, self._instance)), retain=True)

    def took(self, end: "_CentralEnd", delivery: Delivery) -> None:
        """A message arrived: it waits for the batch."""
        if not self._batch:
            self._later(BATCH_S, self._work)
        self._batch.append((end, delivery))

    def is_life(self, life: int) -> bool:
        """Whether this is still the same process."""
        return self.is_running and life == self._life

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        life = self._life

        def step() -> None:
            if not self.is_life(life):
                return
            if self.world.chance(self.crash_share):
                self.laboratory.oracle.faults["central crashed between two steps"] += 1
                self.crash()
                self.world.after(self.world.between(1, 60), self.start)
                return
            action()

        self.world.after(delay_s, step)

    def _work(self) -> None:
        batch, self._batch = self._batch[:BATCH], self._batch[BATCH:]
        if self._batch:
            self._later(BATCH_S, self._work)
        self._later(self.world.around(0.02), lambda: self._commit(batch, 0.2))

    def _commit(self, batch: "list[tuple[_CentralEnd, Delivery]]", again_s: float) -> None:
        readings = [delivery for _, delivery in batch if delivery.topic.endswith("/reading")]
        states = [delivery for _, delivery in batch if delivery.topic.endswith("/state")]
        try:
            acks = self.laboratory.commit(readings) if readings else ()
            self.laboratory.record_states(states)
        except AwayError:
            self._later(again_s, lambda: self._commit(batch, min(2 * again_s, 5.0)))
            return
        ends = {delivery.topic.split("/")[2]: end for end, delivery in batch}
        for place, (device_id, ack) in enumerate(acks):
            self._later(0.001 * (place + 1), partial(self._answer, [ends[device_id]], device_id, ack))
        for end, delivery in batch:
            if delivery.topic.endswith("/ledger"):
                told = plan_ledger(delivery)
                if not isinstance(told, Refused):
                    self._ledgers[told.device_id] = end, told
                    wait_s = self._compared_s.get(told.device_id, -10.0) + LEDGER_AT_MOST_EVERY_S - self.world.now_s
                    self._later(max(0.01, wait_s), partial(self._compare, told.device_id))

    def _compare(self, device_id: str) -> None:
        """Answer the newest account of a device, if it was not answered meanwhile."""
        waiting = self._ledgers.pop(device_id, None)
        if waiting is None:
            return
        if self.laboratory.is_away:
            self._ledgers[device_id] = waiting
            self._later(5.0, partial(self._compare, device_id))
            return
        self._compared_s[device_id] = self.world.now_s
        for ack in self.laboratory.store.compare(waiting[1]):
            self._answer([waiting[0]], device_id, ack)

    def _answer(self, ends: "Sequence[_CentralEnd]", device_id: str, ack: Ack) -> None:
        message = Message(topics.topic(device_id, "ack"), encode(ack))
        for end in ends:
            if end.line is not None:
                end.line.publish(message, lambda code: None)

    def _watch(self) -> None:
        """Ask devices whose holes stay open to account for what they hold."""
        self._later(WATCH_EVERY_S, self._watch)
        if self.laboratory.is_away:
            return
        asked, self._holes = asks(self._holes, self.laboratory.store.lowest_holes(), self.world.now)
        for device_id, epoch in asked.items():
            self.world.tell(self.name, "asks for an account", device_id)
            self._answer(self._ends, device_id, Ack(VERSION, epoch, ledger_wanted=True))


class _CentralEnd:
    """Central's line to one broker."""

    def __init__(self, central: Central, broker: Broker, life: int) -> None:
        self._central, self._broker, self._life = central, broker, life
        self.line: Line | None = None

    def connect(self) -> None:
        """Try until there is a line."""
        central = self._central
        if not central.is_life(self._life) or self.line is not None:
            return
        line = self._broker.connect(central.name, self, central.status(online=False))
        if line is None:
            central.world.after(central.world.between(1, 5), self.connect)
            return
        self.line = line
        line.subscribe((topics.ALL_READINGS, topics.ALL_STATES, topics.ALL_LEDGERS))
        # Only once it is subscribed is it there.
        line.carry("subscribe", lambda: line.publish(central.status(online=True), lambda code: None))

    def received(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """A message of a device."""
        if self._central.is_life(self._life) and topic != topics.CENTRAL_STATE:
            self._central.took(self, Delivery(topic, payload, retained))

    def lost(self) -> None:
        """The line is gone: connect again."""
        self.line = None
        self._central.world.after(self._central.world.between(1, 5), self.connect)

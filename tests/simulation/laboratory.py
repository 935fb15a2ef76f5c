"""Central in the simulation: processes around a durable table, each dying between any two steps.

A batch is taken, decided and committed, and answered in separate moments, as `central.intake.mqtt` does it; several
centrals may work on one table.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from central.intake.accounts import LEDGER_AT_MOST_EVERY_S, WATCH_EVERY_S, Hole, asks
from central.intake.decide import Answers
from central.intake.plan import Delivery, Refused, plan_ledger
from edge_agent.link.conversation import Message
from protocol import topics
from protocol.codec import encode
from protocol.messages import VERSION, Ack, CentralStatus, Ledger
from tests.simulation.broker import Broker, Line
from tests.simulation.oracle import Oracle
from tests.simulation.table import Store
from tests.simulation.world import World

BATCH_S: Final = 0.015
BATCH: Final = 200


class AwayError(Exception):
    """The database cannot be used now: nothing is answered, the batch is tried again."""


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
        status = CentralStatus(VERSION, online, self._instance, batches=True)
        return Message(topics.CENTRAL_STATE, encode(status), retain=True)

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
        readings = [delivery for _, delivery in batch if delivery.topic.endswith(("/reading", "/readings"))]
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
        line.subscribe((topics.ALL_READINGS, topics.ALL_BATCHES, topics.ALL_STATES, topics.ALL_LEDGERS))
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

"""What happens to a simulated laboratory: each kind of fault is a function, drawn and timed by `schedule`.

Each knows how it ends by itself; `Fleet.heal` ends everything that a person or time would end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from edge_agent.link.conversation import Message
from protocol import topics
from protocol.codec import digest
from tests.simulation.broker import Broker, Wire
from tests.simulation.card import Card
from tests.simulation.frail import Frailty
from tests.simulation.laboratory import Central, Laboratory
from tests.simulation.oracle import Oracle
from tests.simulation.reader import Reader
from tests.simulation.world import World

_YEAR_S: Final = 365.25 * 86400
JUMPS_S: Final = (1.0, -1.0, 3600.0, -3600.0, 30 * 86400.0, -30 * 86400.0, 10 * _YEAR_S, -10 * _YEAR_S, -57 * _YEAR_S)


@dataclass
class Fleet:
    """Everything in one simulation."""

    world: World
    oracle: Oracle
    laboratory: Laboratory
    brokers: list[Broker]
    centrals: list[Central]
    readers: list[Reader]
    wire: Wire
    span_s: float
    cards: int = 0
    backups: list[tuple[float, object]] = field(default_factory=list)
    retired: list[Card] = field(default_factory=list)

    def reader(self) -> Reader:
        """One of them."""
        return self.world.random.choice(self.readers)

    def broker(self) -> Broker:
        """One of them."""
        return self.world.random.choice(self.brokers)

    def new_card(self) -> Card:
        """A card fresh from the box."""
        self.cards += 1
        return Card(self.cards, self.world.random.randbytes(8).hex())

    def back_up(self) -> None:
        """What a laboratory does each night."""
        self.backups.append((self.world.now_s, self.laboratory.store.backup()))

    def heal(self) -> None:
        """The last fault is over: whatever is off is switched on, and each wire is as it should be."""
        for broker in self.brokers:
            broker.is_up, broker.wire = True, Wire()
            broker.unreachable_until_s.clear()
        self.laboratory.is_away = False
        for number, central in enumerate(self.centrals):
            central.crash_share = 0.0
            central.start() if number == 0 else central.crash()
        for reader in self.readers:
            self.laboratory.store.enrol(reader.device_id, revoked=False)
            reader.frailty, reader.is_full, reader.clock_error_s = Frailty(), False, 0.0
        self.oracle.revoked.clear()
        for reader in self.readers:
            reader.is_off = False
            reader.start()

    def mend_cards(self) -> None:
        """A person puts what lies on cards that were copied or set back onto a new card of the bench, once each."""
        for reader in self.readers:
            cards = [card for card in self.retired if card.owner == reader.device_id]
            if not cards:
                continue
            if reader.card.has_twin:
                cards.append(reader.card)
                reader.stop()
                reader.card = self.new_card()
                reader.card.owner = reader.device_id
                reader.start()
            agent = reader.agent
            assert agent is not None
            for card in cards:
                for row in list(card.rows.values()):
                    # Also what was settled: central may have been set back since, and takes nothing twice.
                    if row.digest == digest(row.document) and row.id not in reader.card.places:
                        agent.guarded(partial(agent.put_again, row.document))
            self.retired = [card for card in self.retired if card.owner != reader.device_id]


Fault = Callable[[Fleet], None]


def kill_agent(fleet: Fleet) -> None:
    """SIGKILL; it is started again."""
    reader = fleet.reader()
    reader.stop()
    fleet.world.after(fleet.world.between(1, 20), reader.start)


def frail_agent(fleet: Fleet) -> None:
    """For some minutes it dies at random between any two steps."""
    reader = fleet.reader()
    reader.frailty = replace(reader.frailty, kill=0.05)
    fleet.world.after(fleet.world.between(60, 600), lambda: _set(reader, kill=0.0))


def failing_disk(fleet: Fleet) -> None:
    """For some minutes its outbox cannot always be written or read."""
    reader = fleet.reader()
    reader.frailty = replace(reader.frailty, disk_error=0.1)
    fleet.world.after(fleet.world.between(60, 600), lambda: _set(reader, disk_error=0.0))


def _set(reader: Reader, **shares: float) -> None:
    reader.frailty = replace(reader.frailty, **shares)


def power_cut(fleet: Fleet) -> None:
    """The bench is dark for a while."""
    reader = fleet.reader()
    reader.power_cut()
    reader.is_off = True
    fleet.world.after(fleet.world.around(300), lambda: _on(reader))


def long_absence(fleet: Fleet) -> None:
    """The bench is switched off for days."""
    reader = fleet.reader()
    reader.power_cut()
    reader.is_off = True
    fleet.world.after(fleet.world.between(1, 20) * 86400, lambda: _on(reader))


def _on(reader: Reader) -> None:
    reader.is_off = False
    reader.start()


def full_disk(fleet: Fleet) -> None:
    """No room for new readings; sending goes on."""
    reader = fleet.reader()
    reader.is_full = True
    fleet.world.after(fleet.world.around(3600), lambda: setattr(reader, "is_full", False))


def clock_jumps(fleet: Fleet) -> None:
    """The date of a bench is another one from now on."""
    reader = fleet.reader()
    reader.clock_error_s += fleet.world.random.choice(JUMPS_S)


def broker_restarts(fleet: Fleet) -> None:
    """It loses all lines and all that it had; what was retained only sometimes."""
    broker = fleet.broker()
    broker.restart(keep_retained=fleet.world.chance(0.5))


def broker_away(fleet: Fleet) -> None:
    """It is gone for a while, and comes back knowing nothing."""
    broker = fleet.broker()
    broker.restart(keep_retained=False)
    broker.is_up = False
    fleet.world.after(fleet.world.around(900), lambda: setattr(broker, "is_up", True))


def bad_wire(fleet: Fleet) -> None:
    """For a while a broker drops, doubles, delays and refuses far more than it usually does."""
    world, broker = fleet.world, fleet.broker()
    broker.wire = replace(
        broker.wire, drop=world.between(0, 0.5), double=world.between(0, 0.5), refuse=world.between(0, 0.3),
        slow=world.between(0, 0.2), delay_s=world.random.choice((0.02, 0.5, 5.0)),
    )  # fmt: skip
    world.after(world.around(1800), lambda: setattr(broker, "wire", fleet.wire))


def damaging_wire(fleet: Fleet) -> None:
    """For a while single bits of messages turn over on their way."""
    broker = fleet.broker()
    broker.wire = replace(broker.wire, damage=0.1)
    fleet.world.after(fleet.world.around(900), lambda: setattr(broker, "wire", fleet.wire))


def bench_cut_off(fleet: Fleet) -> None:
    """Half-open: nothing gets through, and at first nobody notices."""
    reader, until_s = fleet.reader(), fleet.world.now_s + fleet.world.around(1200)
    for broker in fleet.brokers:
        broker.cut_off(reader.device_id, until_s)


def central_cut_off(fleet: Fleet) -> None:
    """The same for central."""
    until_s = fleet.world.now_s + fleet.world.around(600)
    for broker in fleet.brokers:
        broker.cut_off(fleet.centrals[0].name, until_s)


def frail_central(fleet: Fleet) -> None:
    """For some minutes it dies at random between any two of its steps."""
    central = fleet.world.random.choice(fleet.centrals)
    central.crash_share = 0.03
    fleet.world.after(fleet.world.between(60, 900), lambda: setattr(central, "crash_share", 0.0))


def central_away(fleet: Fleet) -> None:
    """It dies, and nobody starts it for a while."""
    central = fleet.centrals[0]
    central.crash()
    fleet.world.after(fleet.world.around(1800), central.start)


def database_away(fleet: Fleet) -> None:
    """Nothing can be committed for a while."""
    fleet.laboratory.is_away = True
    fleet.world.after(fleet.world.around(600), lambda: setattr(fleet.laboratory, "is_away", False))


def older_backup(fleet: Fleet) -> None:
    """The database is set back to a copy of up to two days ago, mostly with a restart of central."""
    recent = [copy for at_s, copy in fleet.backups if fleet.world.now_s - at_s < 2 * 86400]
    if not recent:
        return
    if fleet.world.chance(0.8):
        for central in fleet.centrals:
            was_running = central.is_running
            central.crash()
            if was_running:
                fleet.world.after(fleet.world.between(5, 600), central.start)
    fleet.laboratory.store.restore(fleet.world.random.choice(recent))


def another_central(fleet: Fleet) -> None:
    """A second central works beside the first for a while."""
    if len(fleet.centrals) == 1:
        fleet.centrals.append(Central(fleet.laboratory, "central-b", fleet.brokers))
    second = fleet.centrals[1]
    second.start()
    fleet.world.after(fleet.world.around(3600), second.crash)


def poison(fleet: Fleet) -> None:
    """Bytes that are no message, and messages of one device on another's topic."""
    world, broker, reader = fleet.world, fleet.broker(), fleet.reader()
    for line in list(broker.lines.values()):
        if line.client == reader.device_id:
            payload = world.random.randbytes(world.random.randrange(1, 200))
            line.publish(Message(topics.topic(reader.device_id, "reading"), payload), lambda code: None)


def unreadable_reading(fleet: Fleet) -> None:
    """A reading that central has no rule for: whole and well, and refused each time."""
    fleet.reader().capture(unreadable=True)


def person_retries(fleet: Fleet) -> None:
    """Somebody has what was set aside sent again."""
    retry(fleet.reader())


def retry(reader: Reader) -> None:
    """Send again what was set aside."""
    agent = reader.agent
    if agent is not None:
        agent.guarded(agent.requeue)


def prune(fleet: Fleet) -> None:
    """The bench forgets what it may."""
    agent = fleet.reader().agent
    if agent is not None:
        agent.guarded(agent.prune)


def revoked(fleet: Fleet) -> None:
    """A device is shut out, and let in again later."""
    reader = fleet.reader()
    fleet.laboratory.store.enrol(reader.device_id, revoked=True)
    fleet.oracle.revoked.add(reader.device_id)
    fleet.world.after(fleet.world.around(1200), lambda: _let_in(fleet, reader))


def _let_in(fleet: Fleet, reader: Reader) -> None:
    fleet.laboratory.store.enrol(reader.device_id, revoked=False)
    fleet.oracle.revoked.discard(reader.device_id)


def bit_rot(fleet: Fleet) -> None:
    """One bit of a reading on a card turns over: nobody can send that one any more."""
    card = fleet.reader().card
    if card.rows:
        row = card.rows[fleet.world.random.choice(list(card.rows))]
        at = fleet.world.random.randrange(len(row.document))
        damaged = row.document[:at] + bytes([row.document[at] ^ 1]) + row.document[at + 1 :]
        card.rows[row.seq] = replace(row, document=damaged)
        fleet.oracle.beyond_reach([row.id])


def card_replaced(fleet: Fleet) -> None:
    """The card broke: what only it had is gone; the bench begins anew on another one."""
    reader = fleet.reader()
    reader.power_cut()
    fleet.oracle.beyond_reach(reader.card.held())
    reader.card = fleet.new_card()
    reader.card.owner = reader.device_id
    fleet.world.after(60, reader.start)


def card_cloned(fleet: Fleet) -> None:
    """The bench goes on with a copy of its card, which gives the same numbers to other readings; later back again."""
    reader = fleet.reader()
    if reader.card.has_twin:
        return
    reader.power_cut()
    original, fleet.cards = reader.card, fleet.cards + 1
    reader.card = original.copy(fleet.cards)
    reader.card.has_twin = original.has_twin = True
    fleet.world.after(60, reader.start)
    fleet.world.after(fleet.world.around(7200), lambda: _swap(fleet, reader, original))
    fleet.retired.append(original)


def _swap(fleet: Fleet, reader: Reader, original: Card) -> None:
    if original in fleet.retired and reader.card.epoch == original.epoch:
        reader.power_cut()
        fleet.retired.remove(original)
        fleet.retired.append(reader.card)
        reader.card = original
        reader.start()


KINDS: Final[Sequence[Fault]] = (
    kill_agent, frail_agent, failing_disk, power_cut, long_absence, full_disk, clock_jumps, broker_restarts,
    broker_away, bad_wire, damaging_wire, bench_cut_off, central_cut_off, frail_central, central_away, database_away,
    older_backup, another_central, poison, unreadable_reading, person_retries, prune, revoked, bit_rot, card_replaced,
    card_cloned,
)  # fmt: skip

"""What is durable of central, as a model in memory: runs, dead letters, what devices said; copied and set back.

The decision is central's own (`plan`, `decide` and `gaps` of `central.intake`, and `protocol.ledger`); what
`central.intake.ingest` does with a database is done here with dictionaries.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Protocol

import msgspec

from central.fleet.devices import _is_older
from central.intake.decide import Answers, HeldRun, answers, decide
from central.intake.gaps import account
from central.intake.plan import Delivery, Place, Planned, Refused, plan_message, plan_state
from protocol import codec, ledger
from protocol.codec import decompress
from protocol.messages import VERSION, Ack, DeviceStatus, Ledger
from tests.simulation.world import BEGIN


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
    # Every run that was ever inserted: a second one under an id is seen here.
    inserted: list[Run] = field(default_factory=list)

    def commit(self, deliveries: Sequence[Delivery], now: datetime) -> tuple[Answers, Sequence[Run]]:
        """Decide on a batch and commit it, all at once."""
        plans = [each for delivery in deliveries for each in _planned(delivery)]
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
            self.inserted.append(run)
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
        return list(self.inserted)

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
            if len(held) == last == max(held, default=0):
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
            dict(self.images), list(self.inserted),
        )  # fmt: skip

    def restore(self, backup: object) -> None:
        """Everything as it was, but for who is enrolled: that is a person's matter and is put right at once."""
        assert isinstance(backup, Table)
        copy = backup.backup()
        self.held, self.places, self.entries = copy.held, copy.places, copy.entries
        self.refused, self.statuses, self.images = copy.refused, copy.statuses, copy.images
        self.inserted = copy.inserted

    def _place(self, place: Place, run: Run) -> None:
        self.places[place] = run.id
        self.entries.setdefault((place[0], place[1], run.day), {})[place[2]] = run.digest


@lru_cache(maxsize=300)
def _planned(delivery: Delivery) -> list[Planned | Refused]:
    """It is pure and takes half a millisecond; many messages are repeats."""
    return plan_message(delivery, BEGIN)


def _run(each: Planned) -> Run:
    day = each.row["captured_at"].date().isoformat()
    return Run(each.id, each.place, each.digest, decompress(each.row["document"]), day, each.picture)

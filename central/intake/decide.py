"""Pure: what ingest makes of a batch, given what is held already; and the answers that may go out after the commit.

Three fates. New: neither its id nor its place in a device's outbox is taken. Repeated: it is here under its id with the
same digest; it is accepted again and changes nothing. Refused: everything else, and it is kept as a dead letter. Within
a batch the first comes first. `ingest` brings a decision to the database; the simulator brings it to a dictionary.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from central.intake.plan import Place, Planned, Refused, refuse
from protocol.messages import VERSION, Ack, Rejection

Answers: TypeAlias = tuple[tuple[str, Ack], ...]


@dataclass(frozen=True, slots=True)
class HeldRun:
    """What must be known of a run to judge another reading by it; a run that is at two places is two of these."""

    id: str
    place: Place
    digest: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The fates of a batch, each in the order of arrival; `accepted` are the new and the repeated in theirs.

    `elsewhere` are the repeated that came from a place where nothing is known of: the run is at that place too.
    """

    new: tuple[Planned, ...]
    accepted: tuple[Planned, ...]
    refused: tuple[Refused, ...]
    elsewhere: tuple[Planned, ...] = ()

    @property
    def repeated(self) -> int:
        """How many of the accepted change nothing."""
        return len(self.accepted) - len(self.new)


def decide(plans: Sequence[Planned | Refused], held: Iterable[HeldRun], enrolled: Container[str]) -> Decision:
    """What becomes of a batch. `held` is every run that has an id or a place of the batch; more does no harm.

    `enrolled` are the devices that may deliver: a reading of any other is refused whatever it says.
    """
    runs = tuple(held)
    by_id, by_place = {run.id: run for run in runs}, {run.place: run for run in runs}
    new: list[Planned] = []
    accepted: list[Planned] = []
    refused: list[Refused] = []
    elsewhere: list[Planned] = []
    for each in plans:
        if isinstance(each, Refused):
            refused.append(each)
        elif each.device_id not in enrolled:
            refused.append(_stranger(each))
        elif (known := by_id.get(each.id)) is not None and known.digest == each.digest:
            accepted.append(each)
            if each.place not in by_place:
                by_place[each.place] = known
                elsewhere.append(each)
        elif known is not None or each.place in by_place:
            refused.append(_conflict(each, known))
        else:
            run = HeldRun(each.id, each.place, each.digest)
            by_id[each.id] = by_place[each.place] = run
            new.append(each)
            accepted.append(each)
    return Decision(tuple(new), tuple(accepted), tuple(refused), tuple(elsewhere))


def answers(decision: Decision, missing_pictures: Container[str], now: datetime) -> Answers:
    """(device, Ack) to send once the decision is committed, one per device and epoch.

    `missing_pictures` are those that the accepted readings name and central does not have. A refusal whose topic names
    no device has nobody to be told.
    """
    drafts: dict[tuple[str, str], _Draft] = {}
    for each in decision.accepted:
        draft = drafts.setdefault((each.device_id, each.epoch), _Draft())
        draft.accepted[each.id] = None
        if each.picture in missing_pictures:
            draft.wanted[each.picture] = None
    for no in decision.refused:
        if no.device_id is not None:
            draft = drafts.setdefault((no.device_id, no.epoch), _Draft())
            draft.rejected.append(Rejection(no.id, no.seq, no.code, no.detail))
    return tuple((device_id, draft.ack(epoch, now)) for (device_id, epoch), draft in drafts.items())


@dataclass(slots=True)
class _Draft:
    """An answer while it is written; the keys of a dict are a set that keeps its order."""

    accepted: dict[str, None] = field(default_factory=dict)
    wanted: dict[str, None] = field(default_factory=dict)
    rejected: list[Rejection] = field(default_factory=list)

    def ack(self, epoch: str, now: datetime) -> Ack:
        return Ack(VERSION, epoch, tuple(self.accepted), tuple(self.rejected), tuple(self.wanted), now)


def _stranger(each: Planned) -> Refused:
    detail = f"device {each.device_id!r} is not enrolled here, or was revoked (expected an enrolled device)"
    return refuse(each.delivery, "wrong_device", detail)


def _conflict(each: Planned, known: HeldRun | None) -> Refused:
    _, epoch, seq = each.place
    detail = f"seq {seq} of epoch {epoch} is here with another reading (sent now with {each.id})"
    if known is not None:
        detail = f"run {each.id} is here with digest {known.digest} (sent now with {each.digest})"
    return refuse(each.delivery, "conflict", detail)

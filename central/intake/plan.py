"""Pure: a message's bytes → the run that it may become, or why it cannot. `ingest` brings it to the database.

Everything that a run's columns say beside its document is derived here, and what a column could not hold is refused
here, by name, instead of by the database in the middle of a batch.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any, Final, TypeAlias

import msgspec
from sqlalchemy import String

from central.tables import runs
from protocol.codec import as_json, compress, decode, decode_document, decompress, open_envelope
from protocol.delivery import MOST_IN_BATCH
from protocol.endpoint import seen_endpoints
from protocol.errors import RejectionCode, RemoteProtocolError
from protocol.ledger import MOST_RANGES
from protocol.messages import DeviceStatus, Ledger, LedgerDay, PlateReading, ReadingBatch, ReadingEnvelope
from protocol.profiles import profile_named
from protocol.topics import parse_topic, topic

# (device, epoch, seq): where a reading stands in its device's outbox.
Place: TypeAlias = tuple[str, str, int]

# Ten years of days: a device keeps its readings for some weeks, or until central has them.
MOST_LEDGER_DAYS: Final = 3660

# More than any reader of ours sends in one message: a bound on what one message may cost.
MOST_ENCLOSED: Final = 8 * MOST_IN_BATCH

_LARGEST: Final = 2**63 - 1
_MOST_SIGNS: Final = {column.name: column.type.length or 0 for column in runs.c if isinstance(column.type, String)}
_DETAIL_SIGNS: Final = 500


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as the broker delivered it."""

    topic: str
    payload: bytes
    retained: bool = False
    """The broker kept it and repeats it: it may be old."""


@dataclass(frozen=True, slots=True)
class Enclosed:
    """A reading that came among others in one message: its topic, and its envelope's JSON."""

    topic: str
    envelope: bytes
    retained: bool = False

    @property
    def payload(self) -> bytes:
        """It as if it had come alone: made where it is to be kept, which is seldom."""
        return compress(self.envelope)


@dataclass(frozen=True, slots=True)
class Planned:
    """A reading that can become a run; `row` is the run without its number."""

    delivery: Delivery | Enclosed
    row: dict[str, Any]

    @property
    def device_id(self) -> str:
        """Whose reading it is, and where the answer goes."""
        return str(self.row["device_id"])

    @property
    def id(self) -> str:
        """The reading's id."""
        return str(self.row["id"])

    @property
    def epoch(self) -> str:
        """Which outbox of its device it comes from."""
        return str(self.row["epoch"])

    @property
    def place(self) -> Place:
        """Its place in that outbox."""
        return self.device_id, self.epoch, int(self.row["seq"])

    @property
    def digest(self) -> str:
        """SHA-256 of the reading's bytes."""
        return str(self.row["digest"])

    @property
    def picture(self) -> str:
        """SHA-256 of its photograph."""
        return str(self.row["image_sha256"])


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that cannot become a run, and as much as could be read of where it belongs."""

    delivery: Delivery | Enclosed
    code: RejectionCode
    detail: str
    device_id: str | None = None
    epoch: str = ""
    id: str | None = None
    seq: int | None = None


def plan_message(delivery: Delivery, now: datetime) -> list[Planned | Refused]:
    """What to do with a message of one reading or of several, from its bytes alone: each is planned by itself."""
    if not delivery.topic.endswith("/readings"):
        return [plan(delivery, now)]
    try:
        return [plan(one, now) for one in _enclosed(delivery)]
    except RemoteProtocolError as error:
        return [refuse(delivery, error.code, error.detail)]


def _enclosed(delivery: Delivery) -> list[Enclosed]:
    device_id, _ = parse_topic(delivery.topic)
    batch = decode(delivery.payload, ReadingBatch)
    if batch.device_id != device_id:
        detail = f"the message is of device {batch.device_id!r} (expected {device_id!r}, whose topic it came on)"
        raise RemoteProtocolError("wrong_device", detail)
    if len(batch.envelopes) > MOST_ENCLOSED:
        detail = f"{len(batch.envelopes)} readings in a message (expected at most {MOST_ENCLOSED})"
        raise RemoteProtocolError("too_large", detail)
    alone = topic(device_id, "reading")
    return [Enclosed(alone, bytes(envelope)) for envelope in batch.envelopes]


def plan(delivery: Delivery | Enclosed, now: datetime) -> Planned | Refused:
    """What to do with one reading, from its bytes alone."""
    try:
        document = delivery.envelope if isinstance(delivery, Enclosed) else decompress(delivery.payload)
        return Planned(delivery, _row(delivery.topic, document, now))
    except RemoteProtocolError as error:
        return refuse(delivery, error.code, error.detail)
    except (ValueError, ArithmeticError, LookupError) as error:
        # A value that our own rules stumble over is refused like any other: it must not stop those behind it.
        return refuse(delivery, "undecodable", f"{type(error).__name__}: {error}")


def plan_state(delivery: Delivery) -> DeviceStatus | Refused:
    """The presence that a state message tells of."""
    try:
        return _status(delivery)
    except RemoteProtocolError as error:
        return refuse(delivery, error.code, error.detail)


def plan_ledger(delivery: Delivery) -> Ledger | Refused:
    """The account that a device gives of its outbox."""
    try:
        return _ledger(delivery)
    except RemoteProtocolError as error:
        return refuse(delivery, error.code, error.detail)


def _ledger(delivery: Delivery) -> Ledger:
    device_id, _ = parse_topic(delivery.topic)
    ledger = decode(delivery.payload, Ledger)
    if ledger.device_id != device_id:
        detail = f"the ledger is of device {ledger.device_id!r} (expected {device_id!r}, whose topic it came on)"
        raise RemoteProtocolError("wrong_device", detail)
    if len(ledger.epoch) > _MOST_SIGNS["epoch"] or not ledger.epoch.isprintable():
        raise RemoteProtocolError("undecodable", f"epoch {ledger.epoch[:80]!r} (expected at most 36 printable signs)")
    if len(ledger.days) > MOST_LEDGER_DAYS:
        detail = f"a ledger of {len(ledger.days)} days (expected at most {MOST_LEDGER_DAYS})"
        raise RemoteProtocolError("too_large", detail)
    for day in ledger.days:
        _check_day(day)
    return ledger


def _check_day(day: LedgerDay) -> None:
    try:
        date.fromisoformat(day.day)
    except ValueError as error:
        raise RemoteProtocolError("undecodable", f"a ledger of day {day.day!r} (expected a date)") from error
    if len(day.ranges) > MOST_RANGES:
        raise RemoteProtocolError("too_large", f"{len(day.ranges)} ranges of a day (expected at most {MOST_RANGES})")
    edges = [edge for reach in day.ranges for edge in (reach[0], reach[1] + 1)]
    if not edges or edges[-1] > _LARGEST or any(a >= b for a, b in pairwise(edges)):
        raise RemoteProtocolError("undecodable", f"ranges of day {day.day} (expected some, in order, apart)")


def _status(delivery: Delivery) -> DeviceStatus:
    device_id, _ = parse_topic(delivery.topic)
    status = decode(delivery.payload, DeviceStatus)
    if status.device_id != device_id:
        detail = f"the status is of device {status.device_id!r} (expected {device_id!r}, whose topic it came on)"
        raise RemoteProtocolError("wrong_device", detail)
    clock = status.clock
    if clock is not None and not (len(clock.boot_id) <= _MOST_SIGNS["boot_id"] and 0 <= clock.monotonic_ns <= _LARGEST):
        detail = f"boot {clock.boot_id[:80]!r} at {clock.monotonic_ns} ns (expected at most 64 signs, below 2**63 ns)"
        raise RemoteProtocolError("undecodable", detail)
    _check_storable(status, "the status")
    return status


def _row(name: str, message: bytes, now: datetime) -> dict[str, Any]:
    device_id, _ = parse_topic(name)
    envelope = decode_document(message, ReadingEnvelope)
    if envelope.device_id != device_id:
        detail = f"the message is of device {envelope.device_id!r} (expected {device_id!r}, whose topic it came on)"
        raise RemoteProtocolError("wrong_device", detail)
    reading, document = open_envelope(envelope)
    row = {
        "id": reading.id,
        "device_id": device_id,
        "epoch": envelope.epoch,
        "seq": envelope.seq,
        "digest": envelope.digest,
        "document": compress(document),
        "historical": envelope.historical,
        "captured_at": _utc(reading.captured_at),
        "received_at": now,
        "submission": reading.code and reading.code.submission,
        "test": reading.code and reading.code.test,
        "plate_number": reading.code and reading.code.plate_number,
        "profile": reading.profile,
        "profile_version": reading.profile_version,
        "plate_format": reading.plate.format,
        "endpoints": _endpoints(reading),
        "model": f"{reading.model.name}-v{reading.model.version}",
        "image_sha256": reading.picture.sha256,
        "boot_id": reading.clock.boot_id,
        "monotonic_ns": reading.clock.monotonic_ns,
        "clock_quality": reading.clock.quality,
        "clock_offset_s": reading.clock.offset_s,
    }
    _check_fits(row)
    return row


def _endpoints(reading: PlateReading) -> Any:
    try:
        profile = profile_named(reading.profile, reading.profile_version)
    except KeyError as error:
        raise RemoteProtocolError("unknown_profile", str(error.args[0])) from error
    if profile.plate_format != reading.plate.format:
        detail = f"a {reading.plate.format}-well plate (profile {profile.name!r} expects {profile.plate_format} wells)"
        raise RemoteProtocolError("undecodable", detail)
    return msgspec.to_builtins(seen_endpoints(reading.plate, reading.wells, profile))


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise RemoteProtocolError("undecodable", f"captured_at {at.isoformat()} has no zone (expected UTC)")
    return at.astimezone(UTC)


def _check_fits(row: dict[str, Any]) -> None:
    """What a column cannot hold is found here, not by the database in the middle of a batch."""
    for name in ("seq", "monotonic_ns"):
        if not -_LARGEST <= row[name] <= _LARGEST:
            raise RemoteProtocolError("undecodable", f"{name} {row[name]} (expected at most {_LARGEST})")
    for name, most in _MOST_SIGNS.items():
        value = row[name]
        if value is not None and len(value) > most:
            raise RemoteProtocolError("undecodable", f"{name} of {len(value)} characters (expected at most {most})")
        if value is not None and not value.isprintable():
            raise RemoteProtocolError("undecodable", f"{name} {value[:80]!r} (expected printable text)")


def _check_storable(value: Any, what: str) -> None:
    """PostgreSQL cannot store U+0000 in JSON."""
    if b"\\u0000" in as_json(value):
        raise RemoteProtocolError("undecodable", f"a NUL character in {what} (expected text)")


class _Id(msgspec.Struct, frozen=True):
    id: str | None = None


class _Place(msgspec.Struct, frozen=True):
    epoch: str = ""
    seq: int | None = None
    reading: _Id = _Id()


def refuse(delivery: Delivery | Enclosed, code: RejectionCode, detail: str) -> Refused:
    """A refusal that says as much about its place as the bytes give away, so that the device finds its reading."""
    try:
        device_id: str | None = parse_topic(delivery.topic)[0]
    except RemoteProtocolError:
        device_id = None
    try:
        place = msgspec.json.decode(decompress(delivery.payload), type=_Place)
    except (RemoteProtocolError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        place = _Place()
    detail = "".join(sign if sign.isprintable() else "?" for sign in detail[:_DETAIL_SIGNS])
    known_id = place.reading.id if place.reading.id and len(place.reading.id) <= 36 else None
    return Refused(delivery, code, detail, device_id, place.epoch[:36], known_id, place.seq)

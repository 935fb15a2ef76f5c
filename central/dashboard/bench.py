"""Pure: what the pages say of a device: its outbox in one line, and everything that a person should look at."""

from datetime import datetime
from typing import Final, Literal

import msgspec

from central.api.devices import CLOCK_MAY_DIFFER_S, DeviceOut
from central.intake.gaps import OutboxAccount
from protocol.errors import REJECTION_CODES
from protocol.messages import OutboxDepth

Level = Literal["bad", "warn", "plain"]

# So soon it is today's work; later it is only worth knowing.
_HOURS_SOON: Final = 48.0


class Remark(msgspec.Struct, frozen=True):
    """Something about a device: how bad, in a few words, and in full."""

    level: Level
    short: str
    full: str


def remarks(device: DeviceOut) -> tuple[Remark, ...]:
    """What a person should look at, the worst first; none where all is well."""
    found = [*_of_outbox(device.outbox), *_of_accounts(device)]
    found += [Remark("bad", trouble.part, f"{trouble.part}: {trouble.detail}") for trouble in device.troubles]
    clock = device.clock
    if clock is not None and clock.wrong and clock.offset_s is not None:
        way = "ahead" if clock.offset_s > 0 else "behind"
        full = f"the device's clock is {span(abs(clock.offset_s))} {way} (it may differ by {CLOCK_MAY_DIFFER_S:.0f} s)"
        found.append(Remark("warn", "clock wrong", full))
    elif clock is not None and clock.quality == "unsynchronised":
        found.append(Remark("plain", "clock unsynchronised", "the device's system says that nothing sets its clock"))
    known = {str(code): words for code, words in REJECTION_CODES.items()}
    for code, times in device.dead_letters.items():
        found.append(
            Remark("warn", f"{times} {code}", f"{counted(times, 'message')} refused here: {known.get(code, code)}")
        )
    order: tuple[Level, ...] = ("bad", "warn", "plain")
    return tuple(sorted(found, key=lambda remark: order.index(remark.level)))


def _of_outbox(outbox: OutboxDepth | None) -> list[Remark]:
    if outbox is None:
        return []
    found = []
    if outbox.full:
        found.append(Remark("bad", "full", "its disk is full: nothing is photographed until there is room"))
    elif outbox.hours_left is not None and outbox.hours_left < _HOURS_SOON:
        left = span(outbox.hours_left * 3600)
        found.append(Remark("warn", f"full in {left}", f"at today's pace its disk is full in {left}"))
    if outbox.quarantined:
        count = outbox.quarantined
        found.append(
            Remark("warn", f"{count} set aside", f"{count} readings that it set aside for a person to look at")
        )
    return found


def _of_accounts(device: DeviceOut) -> list[Remark]:
    found = []
    for one in device.outboxes:
        if one.beyond:
            count = counted(one.beyond, "reading")
            full = f"{count} here that the device says it never had: its card was cloned or set back"
            found.append(Remark("bad", "cloned card?", full))
    lost = sum(one.missing for one in device.outboxes if not one.current)
    current = next((one for one in device.outboxes if one.current), None)
    if current is not None and device.outbox is not None:
        set_aside = max(0, device.outbox.quarantined - current.refused)
        lost += max(0, current.missing - device.outbox.pending - set_aside)
    if lost:
        full = f"{counted(lost, 'reading')} neither here nor waiting at the device; it is asked about them"
        found.append(Remark("warn", f"{lost} missing", full))
    return found


def backlog(device: DeviceOut, now: datetime) -> str:
    """What waits at a device: `12 readings, 3 pictures, 48.2 MB; the oldest for 3 h`."""
    outbox = device.outbox
    if outbox is None:
        return "unknown"
    if not outbox.pending and not outbox.pictures:
        return f"nothing waits, {size(outbox.bytes)} held"
    parts = [counted(outbox.pending, "reading")] if outbox.pending else []
    parts += [counted(outbox.pictures, "picture")] if outbox.pictures else []
    told = f"{', '.join(parts)}, {size(outbox.bytes)}"
    return told if outbox.oldest_at is None else f"{told}; the oldest for {_age(device, outbox.oldest_at, now)}"


def _age(device: DeviceOut, oldest_at: datetime, now: datetime) -> str:
    """`oldest_at` is by the device's clock, which may be wrong by what is known of it."""
    offset_s = 0.0 if device.clock is None or device.clock.offset_s is None else device.clock.offset_s
    return span(max((now - oldest_at).total_seconds() + offset_s, 0.0))


def facts(device: DeviceOut, now: datetime) -> tuple[tuple[str, str], ...]:
    """What is known of a device at this moment, name by name."""
    outbox, clock, refusal = device.outbox, device.clock, device.last_refusal
    state = "shut out" if device.revoked_at else "online" if device.online else "offline"
    heard = "never" if device.last_seen_at is None else f"{span((now - device.last_seen_at).total_seconds())} ago"
    room = "unknown"
    if outbox is not None and outbox.full:
        room = "none: nothing is photographed until there is some"
    elif outbox is not None and outbox.hours_left is not None:
        room = f"for {span(outbox.hours_left * 3600)} at the pace of the last day"
    offset = "unknown" if clock is None or clock.offset_s is None else f"{clock.offset_s:+.1f} s against central's"
    return (
        ("State", state),
        ("Last heard of", heard),
        ("Waits there", backlog(device, now)),
        ("Set aside there", "unknown" if outbox is None else str(outbox.quarantined)),
        ("Room", room),
        ("Clock", "unknown" if clock is None else f"{clock.quality}; {offset}"),
        ("Agent", device.agent or "unknown"),
        ("Model", device.model or "unknown"),
        ("Last refusal", "none" if refusal is None else f"{refusal.reason}: {refusal.photo}, {refusal.detail}"),
    )


def holes(one: OutboxAccount) -> str:
    """The first of the places that are missing: `17, 20–44 and more`."""
    named = ", ".join(f"{first}" if first == last else f"{first}–{last}" for first, last in one.holes)
    told = sum(last - first + 1 for first, last in one.holes)
    return f"{named} and more" if told < one.missing else named or "none"


def counted(count: int, thing: str) -> str:
    """`1 reading`, `2 readings`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def size(count: int) -> str:
    """Bytes as people read them: `48.2 MB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def span(seconds: float) -> str:
    """A time as people say it: `40 s`, `12 min`, `3 h`, `2 days`."""
    for limit, unit_s, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"

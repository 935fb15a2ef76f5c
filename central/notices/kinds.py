"""What there may be a notice of: each kind's unit, which way is worse, and how a site's first rule for it stands. Pure.

A kind measures things (devices, runs, rules of delivery, …) and gives each a number. Limits are in the kind's unit.
"""

from typing import Final, Literal

import msgspec

Kind = Literal[
    "device_offline",
    "backlog_count",
    "backlog_age",
    "device_trouble",
    "disk_soon_full",
    "clock_wrong",
    "calibration_drifted",
    "calibration_expired",
    "low_grades",
    "control_failed",
    "delivery_failed",
    "result_withdrawn",
    "alarm_open",
    "unmatched_waiting",
]
Unit = Literal["s", "h", "count", "share"]

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400


class KindFacts(msgspec.Struct, frozen=True):
    """One kind. `rising`: more is worse. The rest is what a site's first rule for it says.

    A notice opens once `opens_at` was reached for `hold_s`, and closes once the value was back over `closes_at` for
    `calm_s`: in between nothing changes, so that what swings about a limit makes one notice and not twenty.
    """

    title: str
    unit: Unit
    measures: str
    opens_at: float
    closes_at: float
    hold_s: int
    calm_s: int
    rising: bool = True
    window_s: int = 0
    least: int = 0


KINDS: Final[dict[Kind, KindFacts]] = {
    "device_offline": KindFacts(
        "Device offline", "s", "time since a device was last heard of", 30 * _MINUTE, 5 * _MINUTE, _MINUTE, 2 * _MINUTE
    ),
    "backlog_count": KindFacts(
        "Readings wait at a device", "count", "readings that a device still holds", 50, 20, 600, 300
    ),
    "backlog_age": KindFacts(
        "A reading waits long", "s", "age of the oldest reading that waits", 4 * _HOUR, _HOUR, 300, 300
    ),
    "device_trouble": KindFacts(
        "Trouble at a device", "count", "troubles that a device tells of; a full disk is one", 1, 1, 120, 300
    ),
    "disk_soon_full": KindFacts(
        "A disk is nearly full", "h", "hours until a device has no room", 48, 72, 300, 600, rising=False
    ),
    "clock_wrong": KindFacts("A clock is wrong", "s", "seconds between a device's clock and ours", 5, 2, 300, 300),
    "calibration_drifted": KindFacts(
        "A bench has drifted", "count", "latest readings in a row beyond their calibration's limits", 3, 1, 0, 0
    ),
    "calibration_expired": KindFacts(
        "A calibration is old", "s", "age of the calibration that the latest reading was made by", 365 * _DAY,
        365 * _DAY, 0, 0,
    ),
    "low_grades": KindFacts(
        "Many low grades", "share", "share of low rows of a device", 0.2, 0.1, 0, _HOUR, window_s=_DAY, least=40
    ),
    "control_failed": KindFacts(
        "Controls failed", "count", "the run that speaks for a plate has a failed control", 1, 1, 0, 0,
        window_s=7 * _DAY,
    ),
    "delivery_failed": KindFacts("Deliveries failed", "count", "deliveries of a rule that were given up", 1, 1, 0, 0),
    "result_withdrawn": KindFacts(
        "Withdrawn results are out", "count", "plates in a rule's files that are void since, until they are settled",
        1, 1, 0, 0,
    ),
    "alarm_open": KindFacts("Alarms are open", "count", "alarms of a kind that nobody has seen", 1, 1, 0, 0),
    "unmatched_waiting": KindFacts(
        "Runs of no known plate", "count", "runs that wait for their plate", 1, 1, _HOUR, _MINUTE
    ),
}  # fmt: skip

# What these count is of no single device.
OF_NO_DEVICE: Final[frozenset[Kind]] = frozenset(
    {"delivery_failed", "result_withdrawn", "alarm_open", "unmatched_waiting"}
)

# What a rule may ask for: nothing is looked at more often than every half minute, and nobody waits for years.
LONGEST_S: Final = 3 * 365 * _DAY
SHORTEST_REPEAT_S: Final = 600


def is_high(kind: Kind, value: float, opens_at: float) -> bool:
    """Whether the value is as bad as the limit, or worse."""
    return value >= opens_at if KINDS[kind].rising else value <= opens_at


def is_low(kind: Kind, value: float, closes_at: float) -> bool:
    """Whether it is over."""
    return value < closes_at if KINDS[kind].rising else value > closes_at


def value_words(kind: Kind, value: float) -> str:
    """A value as people read it.

    >>> value_words("device_offline", 5400), value_words("low_grades", 0.25), value_words("backlog_count", 50)
    ('1.5 h', '25 %', '50')
    """
    match KINDS[kind].unit:
        case "share":
            return f"{100 * value:.0f} %"
        case "count":
            return f"{value:.0f}"
        case "h":
            return _span(value * _HOUR)
        case _:
            return _span(value)


def _span(seconds: float) -> str:
    for unit_s, unit, least in ((_DAY, "days", 2 * _DAY), (_HOUR, "h", _HOUR), (_MINUTE, "min", 2 * _MINUTE)):
        if seconds >= least:
            return f"{seconds / unit_s:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.1f}".removesuffix(".0") + " s"

"""What people and machines are told of a notice: a letter's subject and text, the body of a call. Pure.

A letter says which laboratory, what, of which thing and where to look. It names no person.
"""

from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from central.notices.decide import Tell
from central.notices.kinds import KINDS, Kind, value_words

_BEGINS: Final[dict[Tell, str]] = {"opened": "", "repeated": "still: ", "closed": "over: "}
_SUBJECT_SIGNS: Final = 180


def letter(  # noqa: PLR0917 - what a letter says
    tell: Tell, kind: Kind, title: str, site: str, detail: str, url: str, opened_at: datetime | None
) -> dict[str, Any]:
    """Subject and text of an e-mail, in plain words and on plain lines."""
    subject = f"[{site}] {_BEGINS[tell]}{title}: {detail}"
    lines = [
        f"{title} ({KINDS[kind].measures})",
        "",
        detail,
        "",
        f"Laboratory: {site}",
        *([f"Since: {opened_at:%Y-%m-%d %H:%M} UTC"] if opened_at is not None else []),
        f"See {url}",
        "",
        "Wellread told you this because a rule of your laboratory says so.",
    ]
    return {"subject": _line(subject)[:_SUBJECT_SIGNS], "text": "\n".join(_line(line) for line in lines) + "\n"}


def call(tell: Tell, at: datetime, notice: dict[str, Any], url: str) -> dict[str, Any]:
    """The body of a webhook: type, time and the notice's facts, as Standard Webhooks has it."""
    return {"type": f"notice.{tell}", "timestamp": at, "data": notice | {"url": url}}


def where_to_look(kind: Kind, object_kind: str, object_id: str) -> str:
    """The page of the thing that a notice is of."""
    match object_kind:
        case "device" if kind in {"low_grades", "calibration_drifted", "calibration_expired"}:
            return f"/quality?device={quote(object_id, safe='')}"
        case "device":
            return f"/devices/{quote(object_id, safe='')}"
        case "run":
            return f"/runs/{quote(object_id, safe='')}"
        case "delivery_rule":
            return (
                "/deliveries"
                if kind == "result_withdrawn"
                else f"/deliveries?rule={quote(object_id, safe='')}&state=failed"
            )
        case "alarm":
            return "/alarms"
        case _:
            return "/unmatched"


def said(kind: Kind, value: float) -> str:
    """The value with what it is of: `time since a device was last heard of: 1.5 h`."""
    return f"{KINDS[kind].measures}: {value_words(kind, value)}"


def _line(text: str) -> str:
    """Nothing in it ends a line or a header: devices say what they like."""
    return "".join(sign if sign.isprintable() else " " for sign in text)

"""docs/protocol.md, made from the protocol itself; a test compares the file with this, so the two cannot differ."""

import inspect
import typing
from typing import Any, Final

import msgspec

from protocol import codec, delivery, messages
from protocol.errors import REJECTION_CODES
from protocol.topics import CENTRAL_STATE, CHANNELS, PREFIX, broker_acl

_MESSAGES: Final[tuple[type[msgspec.Struct], ...]] = (
    messages.ReadingEnvelope,
    messages.ReadingBatch,
    messages.PlateReading,
    messages.Well,
    messages.Streak,
    messages.Colour,
    messages.Growth,
    messages.PlateSeen,
    messages.PlateCode,
    messages.ModelUsed,
    messages.Picture,
    messages.Clock,
    messages.CalibrationUsed,
    messages.Ack,
    messages.Rejection,
    messages.Ledger,
    messages.LedgerDay,
    messages.Held,
    messages.DeviceStatus,
    messages.OutboxDepth,
    messages.Refusal,
    messages.Trouble,
    messages.CentralStatus,
    messages.EnrolmentRequest,
    messages.Enrolment,
    messages.BrokerAccess,
)


def protocol_page() -> str:
    """The whole page as Markdown."""
    parts = (_opening(), _topics(), _delivery(), _rejections(), _messages(), _broker())
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _opening() -> str:
    wire_kib, message_mib = codec.MAX_WIRE_BYTES // 1024, codec.MAX_MESSAGE_BYTES // 1024 // 1024
    return f"""# Protocol

Made from `protocol/` by `make docs`; a test compares. MQTT 5 over Mosquitto. A message is JSON, zstd-compressed, at
most {wire_kib} KiB on the wire and {message_mib} MiB unpacked. Every message says its version `v`
(now {messages.VERSION}); unknown fields are ignored, unknown versions refused.

The durable copy is the device's outbox. A broker's acknowledgement says that the broker's memory has a message; only
central's `Ack`, sent after its commit, lets a device forget. Ingesting is idempotent for ever by reading id, so both
sides may repeat anything."""


def _topics() -> str:
    rows = [f"| `{PREFIX}/{{device}}/{name}` | {who} | {what} |" for name, (who, what) in CHANNELS.items()]
    rows.append(f"| `{CENTRAL_STATE}` | central | retained presence and last will: CentralStatus |")
    return "## Topics\n\n| topic | sender | message |\n|---|---|---|\n" + "\n".join(rows)


def _delivery() -> str:
    rows = [
        f"| {state.value} | {event.value} | {after.value} |"
        for state, steps in delivery.TRANSITIONS.items()
        for event, after in steps.items()
    ]
    return (
        "## The life of a reading\n\n"
        f"At most {delivery.SEND_WINDOW} readings wait for an answer at one time; of a backlog up to "
        f"{delivery.WIDEST_WINDOW}, {delivery.MOST_IN_BATCH} to a message, as long as answers come within "
        f"{delivery.QUICK_ANSWER_S:g} s. Without one a reading is sent again "
        f"after {delivery.FIRST_RETRY_S:g} s, doubling up to {delivery.LONGEST_RETRY_S:g} s, ±20 %.\n\n"
        "| state | event | next state |\n|---|---|---|\n" + "\n".join(rows)
    )


def _rejections() -> str:
    rows = [f"| `{code}` | {meaning} |" for code, meaning in REJECTION_CODES.items()]
    return "## Rejections\n\n| code | meaning |\n|---|---|\n" + "\n".join(rows)


def _messages() -> str:
    return "## Messages\n\n" + "\n\n".join(_message(kind) for kind in _MESSAGES)


def _message(kind: type[msgspec.Struct]) -> str:
    hints = typing.get_type_hints(kind)
    rows = []
    for field in msgspec.structs.fields(kind):
        needed = "" if field.required else "optional"
        rows.append(f"| `{field.encode_name}` | {_type_name(hints[field.name])} | {needed} |")
    text = inspect.cleandoc(kind.__doc__ or "")
    return f"### {kind.__name__}\n\n{text}\n\n| field | type | |\n|---|---|---|\n" + "\n".join(rows)


def _type_name(hint: Any) -> str:
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__name__
    text = str(hint).replace(" | msgspec.UnsetType", "")
    for noise in ("typing.", "protocol.assay.", "protocol.messages.", "datetime.", "msgspec."):
        text = text.replace(noise, "")
    return text.replace("|", "\\|")


def _broker() -> str:
    return f"## The broker's access list\n\n```\n{broker_acl().strip()}\n```"


if __name__ == "__main__":
    print(protocol_page(), end="")

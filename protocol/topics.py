"""Where messages travel: `wellread/v1/{device}/{channel}`, always four segments. The broker's ACL is made here too.

The device segment is the broker's user name and the client id; nothing in a payload may contradict it.
"""

import re
from typing import Final, Literal

from protocol.errors import LocalProtocolError, RemoteProtocolError

PREFIX: Final = "wellread/v1"
CENTRAL: Final = "central"

Channel = Literal["state", "reading", "readings", "ledger", "ack"]

# direction: who may publish; the other side may subscribe
CHANNELS: Final[dict[Channel, tuple[Literal["device", "central"], str]]] = {
    "state": ("device", "retained birth, heartbeat and last will: DeviceStatus"),
    "reading": ("device", "QoS 1: ReadingEnvelope"),
    "readings": ("device", "QoS 1, from a backlog: ReadingBatch"),
    "ledger": ("device", "QoS 1, at birth and once a day: Ledger"),
    "ack": ("central", "QoS 1, after the commit: Ack"),
}

CENTRAL_STATE: Final = f"{PREFIX}/{CENTRAL}/state"
ALL_READINGS: Final = f"{PREFIX}/+/reading"
ALL_BATCHES: Final = f"{PREFIX}/+/readings"
ALL_STATES: Final = f"{PREFIX}/+/state"
ALL_LEDGERS: Final = f"{PREFIX}/+/ledger"

_DEVICE: Final = re.compile(r"[a-z0-9][a-z0-9-]{2,62}")
_TOPIC: Final = re.compile(rf"{PREFIX}/({_DEVICE.pattern})/([a-z]+)")


def topic(device_id: str, channel: Channel) -> str:
    """The topic of one device's channel."""
    if not _DEVICE.fullmatch(device_id) or device_id == CENTRAL:
        raise LocalProtocolError(f"not a device id: {device_id!r} (expected 3 to 63 of a-z, 0-9 and -, not 'central')")
    return f"{PREFIX}/{device_id}/{channel}"


def parse_topic(name: str) -> tuple[str, Channel]:
    """(device id, channel) of a topic that a device may publish on or receive from."""
    match = _TOPIC.fullmatch(name)
    if match is not None and match[1] != CENTRAL:
        for channel in CHANNELS:
            if channel == match[2]:
                return match[1], channel
    raise RemoteProtocolError("undecodable", f"topic {name!r} (expected {PREFIX}/<device>/<{'|'.join(CHANNELS)}>)")


def broker_acl() -> str:
    """Mosquitto's ACL file: central by name, each device only to its own topics (`%u` is its user name).

    Mosquitto grants a subscription to a foreign filter and then delivers nothing; what counts is the delivery.
    """
    lines = [
        "# Generated from protocol/topics.py; do not edit.",
        f"user {CENTRAL}",
        f"topic readwrite {PREFIX}/#",
        "",
        f"pattern read {CENTRAL_STATE}",
    ]
    for channel, (publisher, _) in CHANNELS.items():
        lines.append(f"pattern {'write' if publisher == 'device' else 'read'} {PREFIX}/%u/{channel}")
    return "\n".join(lines) + "\n"

"""docs/asyncapi.json, an AsyncAPI 3.0 description made from the protocol itself; a test compares the file with this.

Pure: topics and their directions come from `topics`, message schemas (JSON Schema 2020-12) from the structs. The
application that is described is central: what devices publish it receives.
"""

import inspect
import json
from typing import Any, Final

import msgspec

from protocol import codec, messages
from protocol.topics import CENTRAL_STATE, CHANNELS, PREFIX, Channel

_OF_CHANNEL: Final[dict[Channel, type[msgspec.Struct]]] = {
    "state": messages.DeviceStatus,
    "reading": messages.ReadingEnvelope,
    "readings": messages.ReadingBatch,
    "ledger": messages.Ledger,
    "ack": messages.Ack,
}
_RETAINED: Final = ("state", "central")
_SCHEMAS: Final = "#/components/schemas/{name}"


def asyncapi() -> dict[str, Any]:
    """The whole description, ready for JSON."""
    kinds: tuple[type[msgspec.Struct], ...] = (*_OF_CHANNEL.values(), messages.CentralStatus)
    _, schemas = msgspec.json.schema_components([*kinds, messages.PlateReading], ref_template=_SCHEMAS)
    # A raw field may hold anything; what it holds here is a reading, or a reading's envelope.
    schemas["ReadingEnvelope"]["properties"]["reading"] = {"$ref": _SCHEMAS.format(name="PlateReading")}
    schemas["ReadingBatch"]["properties"]["envelopes"]["items"] = {"$ref": _SCHEMAS.format(name="ReadingEnvelope")}
    for schema in schemas.values():
        if "description" in schema:  # as Python 3.13 has it; versions before keep a docstring's indents
            schema["description"] = inspect.cleandoc(schema["description"])
    channels = {name: _device_channel(name, who, what) for name, (who, what) in CHANNELS.items()}
    operations = {_verb(who) + name.title(): _operation(name, _verb(who)) for name, (who, _) in CHANNELS.items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Wellread delivery protocol",
            "version": str(messages.VERSION),
            "description": (
                f"MQTT 5. Every payload is JSON, zstd-compressed: at most {codec.MAX_WIRE_BYTES} bytes on the wire and "
                f"{codec.MAX_MESSAGE_BYTES} bytes unpacked. Unknown fields are ignored, unknown versions refused. Only "
                "central's Ack, sent after its commit, lets a device forget a reading."
            ),
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "channels": channels | {"central": _central_channel()},
        "operations": operations | {"sendCentral": _operation("central", "send")},
        "components": {
            "messages": {kind.__name__: _message(kind) for kind in kinds},
            "schemas": dict(sorted(schemas.items())),
        },
    }


def asyncapi_json() -> str:
    """The file's text."""
    return json.dumps(asyncapi(), indent=1, ensure_ascii=False) + "\n"


def _verb(publisher: str) -> str:
    return "receive" if publisher == "device" else "send"


def _device_channel(name: Channel, publisher: str, what: str) -> dict[str, Any]:
    return {
        "address": f"{PREFIX}/{{device}}/{name}",
        "description": f"Published by the {publisher}. {what}",
        "parameters": {"device": {"description": "The device's id, which is its user name and client id too."}},
        "messages": _message_ref(_OF_CHANNEL[name]),
    }


def _central_channel() -> dict[str, Any]:
    return {
        "address": CENTRAL_STATE,
        "description": "Published by central: its retained presence and last will.",
        "messages": _message_ref(messages.CentralStatus),
    }


def _operation(channel: str, verb: str) -> dict[str, Any]:
    return {
        "action": verb,
        "channel": {"$ref": f"#/channels/{channel}"},
        "bindings": {"mqtt": {"qos": 1, "retain": channel in _RETAINED, "bindingVersion": "0.2.0"}},
    }


def _message_ref(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"}}


def _message(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        "name": kind.__name__,
        "title": (kind.__doc__ or "").splitlines()[0].strip(),
        "contentType": "application/json",
        "payload": {"$ref": _SCHEMAS.format(name=kind.__name__)},
    }


if __name__ == "__main__":
    print(asyncapi_json(), end="")

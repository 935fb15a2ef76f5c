"""C6: messages spoilt by a seed: bytes turned over, cut, put in, doubled; JSON values replaced; topics mistaken."""

import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

import msgspec

from central.intake.plan import Delivery
from protocol.codec import compress, decompress

_TOPICS: Final = (
    "wellread/v1/bench-2/reading", "wellread/v1//reading", "wellread/v1/central/reading", "wellread/v2/bench-1/reading",
    "wellread/v1/bench-1/state", "wellread/v1/bench-1/ack", "$SYS/x", "wellread/v1/bench-1/reading/more", "",
)  # fmt: skip
_VALUES: Final[tuple[Any, ...]] = (
    None, True, -1, 0, 2**63, 2**64, -(2**70), 1e308, -0.0, "", "\0", "x" * 5000, "\ud7ff\u202e", "A0", [], {}, [[]],
    {"a": {"a": {"a": 1}}}, "2026-02-30T25:61:61Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+23:59",
)  # fmt: skip


def spoil(good: Delivery, chance: random.Random) -> Delivery:
    """A message that is not quite this one."""
    kind = chance.random()
    if kind < 0.04:
        return Delivery(chance.choice(_TOPICS), good.payload)
    if kind < 0.5:
        return Delivery(good.topic, _spoil_bytes(good.payload, chance))
    document = decompress(good.payload)
    if kind < 0.7:
        return Delivery(good.topic, _packed(_spoil_bytes(document, chance)))
    value = msgspec.json.decode(document)
    for _ in range(chance.randrange(1, 4)):
        _replace_somewhere(value, chance)
    return Delivery(good.topic, _packed(msgspec.json.encode(value)))


def _spoil_bytes(content: bytes, chance: random.Random) -> bytes:
    spoilt = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        chance.choice(_WAYS)(spoilt, chance)
    return bytes(spoilt)


def _turn_over(content: bytearray, chance: random.Random) -> None:
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _cut(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content) + 1) :]


def _put_in(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content) + 1)
    content[at:at] = chance.choice((b"\0", b"\xff" * 9, b"}", b"[" * 3000, b'"', b"1e999", chance.randbytes(20)))


def _double(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content) + 1)
    content[at:at] = content[at : at + chance.randrange(1, 200)]


_WAYS: Final[tuple[Callable[[bytearray, random.Random], None], ...]] = (_turn_over, _cut, _put_in, _double)


def _replace_somewhere(value: Any, chance: random.Random) -> None:
    """Go down into a document by chance, and put something else there."""
    while True:
        if isinstance(value, dict) and value:
            key: Any = chance.choice(list(value))
        elif isinstance(value, list) and value:
            key = chance.randrange(len(value))
        else:
            return
        if isinstance(value[key], dict | list) and value[key] and chance.random() < 0.8:
            value = value[key]
            continue
        value[key] = deepcopy(chance.choice(_VALUES))
        return


def _packed(document: bytes) -> bytes:
    return compress(document[: 4 * 1024 * 1024])

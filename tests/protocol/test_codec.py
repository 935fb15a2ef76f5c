"""Bytes ↔ messages: nothing altered on the way, nothing unbounded on the way in."""

import random
from contextlib import suppress

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from protocol import codec
from protocol.assay import Call
from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.messages import VERSION, Ack, DeviceStatus, PlateReading, ReadingEnvelope, Rejection, Streak, Well
from tests.make import make_code, make_document, make_reading, make_well, make_wells, replace


def sent(document: bytes, device_id: str = "bench-1") -> bytes:
    return codec.encode(codec.envelope(document, device_id=device_id, epoch="e1", seq=7, historical=False))


def received(wire: bytes) -> PlateReading:
    return codec.open_envelope(codec.decode(wire, ReadingEnvelope))[0]


def refusal(wire: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        received(wire)
    return caught.value


def test_a_reading_arrives_as_the_bytes_that_were_hashed() -> None:
    document = make_document(1)
    reading, arrived = codec.open_envelope(codec.decode(sent(document), ReadingEnvelope))
    assert arrived == document
    assert codec.encode_reading(reading) == document
    assert codec.digest(arrived) == codec.digest(document)


@given(
    submission=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}", fullmatch=True),
    confidence=st.floats(0, 1),
    call=st.sampled_from(["flowing", "button", "partial", "diffuse", "empty", "obscured", "not_read"]),
)
def test_any_reading_survives_the_round_trip(submission: str, confidence: float, call: str) -> None:
    wells = make_wells() | {"A1": make_well(call, confidence)}
    reading = make_reading(1, code=make_code(submission), wells=wells)
    assert received(sent(codec.encode_reading(reading))) == reading


def test_a_96_well_reading_is_small_on_the_wire() -> None:
    assert len(sent(make_document(1))) < 4096


def test_an_unknown_field_is_ignored() -> None:
    document = make_document(1)
    newer = document[:-1] + b',"colour_of_the_lid":"blue"}'
    assert received(sent(newer)) == codec.decode_reading(document)


def test_another_version_is_refused_by_number() -> None:
    newer = make_document(1).replace(b'"v":1', b'"v":9', 1)
    error = refusal(sent(newer))
    assert error.code == "unsupported_version"
    assert "9" in error.detail


def test_one_changed_byte_is_noticed() -> None:
    envelope = codec.envelope(make_document(1), device_id="bench-1", epoch="e", seq=1, historical=False)
    altered = msgspec.structs.replace(
        envelope, reading=msgspec.Raw(bytes(envelope.reading).replace(b"0.97", b"0.98", 1))
    )
    assert refusal(codec.encode(altered)).code == "digest_mismatch"


def test_a_reading_of_another_device_is_refused() -> None:
    assert refusal(sent(make_document(1), device_id="bench-2")).code == "wrong_device"


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_every_well_has_a_state_and_no_other_well_has_one(change: str) -> None:
    wells = make_wells()
    if change == "missing":
        del wells["H12"]
    else:
        wells["I1"] = make_well()
    error = refusal(sent(codec.encode_reading(make_reading(1, wells=wells))))
    assert error.code == "undecodable"
    assert change in error.detail


def test_no_single_bit_puts_a_reading_at_another_place() -> None:
    """Found by the simulation: a bit that turned over in `seq` or `epoch` was under no digest."""
    wire = sent(make_document(1))
    whole = codec.decode(wire, ReadingEnvelope)
    for bit in range(8 * len(wire)):
        damaged = bytearray(wire)
        damaged[bit // 8] ^= 1 << bit % 8
        with suppress(RemoteProtocolError):
            assert codec.decode(bytes(damaged), ReadingEnvelope) == whole


@pytest.mark.parametrize("wire", [b"", b"{}", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd" + b"\x00" * 40, b"\xff" * 100])
def test_what_is_no_message_is_undecodable(wire: bytes) -> None:
    assert refusal(wire).code == "undecodable"


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = zstandard.ZstdCompressor().compress(b"[" * (64 * 1024 * 1024))
    assert len(bomb) < codec.MAX_WIRE_BYTES
    assert refusal(bomb).code == "too_large"
    assert refusal(b"\x28\xb5\x2f\xfd" + b"x" * codec.MAX_WIRE_BYTES).code == "too_large"


def test_deep_nesting_is_undecodable_and_no_crash() -> None:
    assert refusal(codec.compress(b'{"v":1,"x":' + b"[" * 200_000)).code == "undecodable"


@given(st.binary(max_size=400), st.integers(0, 400))
def test_mutated_bytes_never_raise_anything_else(noise: bytes, at: int) -> None:
    wire = sent(make_document(1))
    for candidate in (noise, wire[:at] + noise + wire[at + len(noise) :], codec.compress(noise)):
        try:
            received(candidate)
        except RemoteProtocolError:
            continue


def test_a_message_that_is_too_large_is_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError, match="expected at most"):
        codec.compress(b"x" * (codec.MAX_MESSAGE_BYTES + 1))


@pytest.mark.parametrize(
    "message",
    [
        Ack(v=VERSION, epoch="e", accepted=("a",), rejected=(Rejection(None, None, "undecodable", "why"),)),
        DeviceStatus(v=VERSION, device_id="bench-1", online=False, session="s"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_other_messages_survive_the_round_trip(message: msgspec.Struct) -> None:
    assert codec.decode(codec.encode(message), type(message)) == message


@pytest.mark.parametrize("field", ["submission", "test", "plate_number"])
def test_a_line_end_is_no_part_of_a_laboratorys_number(field: str) -> None:
    code = make_code(**{field: "S-1\n"})
    error = refusal(sent(codec.encode_reading(make_reading(1, code=code))))
    assert error.code == "undecodable"


def test_a_reading_from_before_the_second_opinion_decodes() -> None:
    reading = make_reading(1)
    older = codec.encode_reading(reading).replace(b',"streak":null', b"")
    assert b"streak" not in older
    assert codec.decode_reading(older) == reading


def test_a_reading_from_before_calibrations_decodes() -> None:
    reading = make_reading(1)
    older = codec.encode_reading(reading).replace(b',"calibration":null', b"")
    assert b"calibration" not in older
    assert codec.decode_reading(older) == reading


def test_a_measured_96_well_reading_is_small_on_the_wire() -> None:
    rng = random.Random(1)
    wells = {name: measured_well(well, rng) for name, well in make_wells().items()}
    assert len(sent(codec.encode_reading(make_reading(1, wells=wells)))) < 6144


def measured_well(well: Well, rng: random.Random) -> Well:
    """As a real plate gives it: every figure of every well is another."""
    streak = Streak("streams", *(round(rng.uniform(1, 4), 2) for _ in range(4)), 31.4, 28.2, rng.randint(70, 130) / 100)
    confidence = round(rng.uniform(0.6, 0.95), 4)
    return replace(
        well,
        confidence=confidence,
        candidates={well.call: confidence, Call.PARTIAL: round(1 - confidence, 4)},
        centre_px=(round(rng.uniform(0, 1700), 2), round(rng.uniform(0, 1200), 2)),
        streak=streak,
    )

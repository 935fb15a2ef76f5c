"""Planning: what one message may become, from its bytes alone. Nothing that a device sends may stop it."""

from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.intake.plan import MOST_ENCLOSED, Delivery, Planned, Refused, plan, plan_message, plan_state
from protocol.codec import compress, decompress, encode, envelope
from protocol.messages import VERSION, Clock, DeviceStatus, PlateSeen, ReadingBatch
from protocol.topics import topic
from tests.central.wire import make_delivery
from tests.make import NOON, make_document, make_reading, make_reading_id, make_well, make_wells, replace

GOOD = make_delivery(1)


def planned(delivery: Delivery) -> dict[str, Any]:
    """The row of a message that must be good."""
    result = plan(delivery, NOON)
    assert isinstance(result, Planned), result
    return result.row


def refused(delivery: Delivery) -> Refused:
    """The refusal of a message that must be bad."""
    result = plan(delivery, NOON)
    assert isinstance(result, Refused)
    return result


def changed(**fields: Any) -> Delivery:
    """The good message with fields of its envelope replaced."""
    document = msgspec.json.decode(decompress(GOOD.payload)) | fields
    return Delivery(GOOD.topic, compress(msgspec.json.encode(document)))


def test_a_row_says_what_the_reading_says() -> None:
    row = planned(GOOD)
    assert (row["id"], row["device_id"], row["seq"]) == (make_reading_id(1), "bench-1", 1)
    assert (row["submission"], row["test"], row["plate_number"]) == ("S-1001", "NDV", "1")
    assert (row["model"], row["received_at"]) == ("hi-wells-v1", NOON)


def test_a_row_says_what_the_device_knew_of_time() -> None:
    clock = Clock("boot-7", 5_000_000_000, "synchronised", 0.25)
    row = planned(make_delivery(1, clock=clock))
    names = ("boot_id", "monotonic_ns", "clock_quality", "clock_offset_s")
    assert tuple(row[name] for name in names) == ("boot-7", 5_000_000_000, "synchronised", 0.25)


def test_endpoints_are_computed_here_from_the_wells() -> None:
    endpoints = planned(make_delivery(1, wells=make_wells({"A": 9, "B": 0})))["endpoints"]
    assert [endpoints[row]["last_flowing"] for row in "ABC"] == [9, 0, 6]


def test_a_plate_of_unknown_orientation_has_no_endpoints_here_either() -> None:
    plate = replace(make_reading().plate, a1_from="unknown")
    assert planned(make_delivery(1, plate=plate))["endpoints"] == {}


def test_a_reading_without_a_code_has_no_plate() -> None:
    row = planned(make_delivery(1, code=None))
    assert (row["submission"], row["test"], row["plate_number"]) == (None, None, None)


@pytest.mark.parametrize(
    ("delivery", "code", "detail"),
    [
        (Delivery("wellread/v1/bench-2/reading", GOOD.payload), "wrong_device", "'bench-2'"),
        (Delivery(GOOD.topic, b"not zstd"), "undecodable", "expected a zstd frame"),
        (Delivery(GOOD.topic, GOOD.payload[:-9]), "undecodable", ""),
        (Delivery(GOOD.topic, b""), "undecodable", "expected a zstd frame"),
        (Delivery(GOOD.topic, bytes(600_000)), "too_large", "600000 bytes"),
        (Delivery(GOOD.topic, compress(b"[]")), "undecodable", ""),
        (changed(v=9), "unsupported_version", "version 9 (expected 1)"),
        (changed(digest="0" * 64), "digest_mismatch", "expected 000000"),
        (changed(seq=2**63), "undecodable", "seq 9223372036854775808"),
        (changed(epoch="e" * 37), "undecodable", "epoch of 37 characters (expected at most 36)"),
        (changed(epoch="a\x00b"), "undecodable", "printable"),
        (changed(epoch="a\n"), "undecodable", "printable"),
        (make_delivery(1, profile_version=7), "unknown_profile", "version of assay profile 'hi-96': 7"),
        (make_delivery(1, captured_at=datetime(2026, 1, 1)), "undecodable", "no zone"),  # noqa: DTZ001
        (make_delivery(1, wells={"A1": make_well()}), "undecodable", "95 missing"),
        (make_delivery(1, clock=Clock("b" * 65, 1)), "undecodable", "boot_id of 65 characters (expected at most 64)"),
        (make_delivery(1, clock=Clock("boot-1", 2**63)), "undecodable", "monotonic_ns 9223372036854775808"),
    ],
)
def test_what_cannot_become_a_run_is_refused_by_name(delivery: Delivery, code: str, detail: str) -> None:
    found = refused(delivery)
    assert found.code == code
    assert detail in found.detail


def test_an_unknown_profile_is_named() -> None:
    document = msgspec.json.encode(msgspec.json.decode(make_document(1)) | {"profile": "elisa"})
    sent = envelope(document, device_id="bench-1", epoch="e", seq=1, historical=False)
    assert "'elisa'" in refused(Delivery(GOOD.topic, encode(sent))).detail


def test_a_plate_of_another_size_than_its_profile_is_refused() -> None:
    seen = PlateSeen(6, 2, 3, 0, False, "seat", 6, 0.02, 60.0)
    wells = {name: make_well() for name in ("A1", "A2", "A3", "B1", "B2", "B3")}
    assert "6-well plate" in refused(make_delivery(1, plate=seen, wells=wells)).detail


def test_a_refusal_tells_the_device_which_reading_it_is_about() -> None:
    found = refused(changed(digest="0" * 64))
    assert (found.device_id, found.epoch, found.id, found.seq) == ("bench-1", "epoch-1", make_reading_id(1), 1)


def test_a_refusal_of_rubble_names_no_reading() -> None:
    found = refused(Delivery(GOOD.topic, b"rubble"))
    assert (found.device_id, found.epoch, found.id, found.seq) == ("bench-1", "", None, None)


def test_a_topic_of_nobody_is_refused_without_a_device() -> None:
    assert refused(Delivery("wellread/v1/central/reading", GOOD.payload)).device_id is None


def test_a_code_with_a_line_break_is_refused() -> None:
    document = msgspec.json.decode(make_document(1))
    document["code"]["submission"] = "S-1\n"
    sent = envelope(msgspec.json.encode(document), device_id="bench-1", epoch="e", seq=1, historical=False)
    assert refused(Delivery(GOOD.topic, encode(sent))).code == "undecodable"


def test_a_status_is_read() -> None:
    said = DeviceStatus(VERSION, "bench-1", True, "session-1", agent="0.1.0")
    assert plan_state(Delivery(topic("bench-1", "state"), encode(said))) == said


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"rubble", "undecodable"),
        (encode(DeviceStatus(VERSION, "bench-2", True, "session-1")), "wrong_device"),
        (encode(DeviceStatus(9, "bench-1", True, "session-1")), "unsupported_version"),
        (encode(DeviceStatus(VERSION, "bench-1", True, "a\x00b")), "undecodable"),
    ],
)
def test_a_status_that_cannot_be_kept_is_refused(payload: bytes, code: str) -> None:
    found = plan_state(Delivery(topic("bench-1", "state"), payload))
    assert isinstance(found, Refused)
    assert found.code == code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["v", "device_id", "epoch", "seq", "historical", "digest", "reading"])


@given(st.dictionaries(FIELDS, JSON, min_size=1, max_size=3))
def test_no_envelope_stops_planning(fields: dict[str, Any]) -> None:
    assert plan(changed(**fields), NOON).delivery.topic == GOOD.topic


@given(st.sampled_from(sorted(msgspec.json.decode(make_document(1)))), JSON)
def test_no_reading_stops_planning(field: str, value: Any) -> None:
    document = msgspec.json.encode(msgspec.json.decode(make_document(1)) | {field: value})
    sent = envelope(document, device_id="bench-1", epoch="e", seq=1, historical=False)
    assert plan(Delivery(GOOD.topic, encode(sent)), NOON).delivery.topic == GOOD.topic


@given(st.binary(max_size=64), st.integers(0, len(GOOD.payload)))
def test_no_bytes_stop_planning(noise: bytes, at: int) -> None:
    payload = GOOD.payload[:at] + noise + GOOD.payload[at + len(noise) :]
    assert plan(Delivery(GOOD.topic, payload), NOON).delivery.payload == payload


def batch(*readings: Delivery, device_id: str = "bench-1") -> Delivery:
    """These readings in one message."""
    enclosed = tuple(msgspec.Raw(decompress(one.payload)) for one in readings)
    return Delivery(topic("bench-1", "readings"), encode(ReadingBatch(VERSION, device_id, enclosed)))


def test_a_batch_is_planned_reading_by_reading_as_if_each_had_come_alone() -> None:
    one, two = make_delivery(1), make_delivery(2)
    rubble = Delivery(GOOD.topic, compress(b'{"v": 1, "seq": 7}'))
    first, bad, second = plan_message(batch(one, rubble, two), NOON)
    assert isinstance(bad, Refused)
    assert (bad.code, bad.seq, bad.delivery.topic) == ("undecodable", 7, GOOD.topic)
    assert bad.delivery.payload == rubble.payload
    for found, alone in ((first, one), (second, two)):
        assert isinstance(found, Planned)
        assert found.row == planned(alone)


def test_a_reading_that_was_altered_on_its_way_is_refused_among_others_too() -> None:
    altered = Delivery(GOOD.topic, compress(decompress(GOOD.payload).replace(b'"sharpness":0.8', b'"sharpness":0.9')))
    bad, good = plan_message(batch(altered, make_delivery(2)), NOON)
    assert isinstance(bad, Refused)
    assert (bad.code, bad.id) == ("digest_mismatch", make_reading_id(1))
    assert isinstance(good, Planned)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (Delivery(topic("bench-1", "readings"), b"rubble"), "undecodable"),
        (batch(GOOD, device_id="bench-2"), "wrong_device"),
        (batch(*[GOOD] * (MOST_ENCLOSED + 1)), "too_large"),
    ],
)
def test_a_batch_that_is_none_is_refused_once(message: Delivery, code: str) -> None:
    (found,) = plan_message(message, NOON)
    assert isinstance(found, Refused)
    assert (found.code, found.delivery) == (code, message)

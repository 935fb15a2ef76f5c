"""Topic names, and the broker's access list made from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.topics import ALL_READINGS, CENTRAL_STATE, CHANNELS, broker_acl, parse_topic, topic

DEVICES = st.from_regex(r"[a-z0-9][a-z0-9-]{2,62}", fullmatch=True).filter(lambda name: name != "central")


@given(DEVICES, st.sampled_from(sorted(CHANNELS)))
def test_a_topic_says_device_and_channel(device: str, channel: str) -> None:
    assert parse_topic(topic(device, channel)) == (device, channel)


@pytest.mark.parametrize("device", ["central", "a", "Bench", "a/b", "a+b", "#", "", "x" * 64, "bench\n"])
def test_a_name_that_could_reach_other_topics_is_no_device(device: str) -> None:
    with pytest.raises(LocalProtocolError, match="not a device id"):
        topic(device, "reading")


@pytest.mark.parametrize("name", [CENTRAL_STATE, ALL_READINGS, "wellread/v1/a/b/c", "wellread/v2/bench-1/ack", "", "/"])
def test_a_foreign_topic_is_refused(name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_topic(name)


def test_a_device_may_write_and_read_only_under_its_own_name() -> None:
    patterns = [line for line in broker_acl().splitlines() if line.startswith("pattern")]
    assert all("%u" in line for line in patterns if not line.endswith(CENTRAL_STATE))
    assert "pattern write wellread/v1/%u/ack" not in patterns
    assert not any("#" in line or "+" in line for line in patterns)

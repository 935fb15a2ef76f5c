"""E2: the power goes while a bench captures and sends. What it was shown as saved is there when the power is back."""

import time
from pathlib import Path

import pytest

from tests.faults.conftest import lives
from tests.faults.disks import Kind, disk
from tests.faults.record import Result, is_full_run, record, times

pytestmark = [pytest.mark.system, pytest.mark.proof("E2")]

CUTS: dict[Kind, tuple[int, int]] = {"ext4": (15, 1000), "xfs": (5, 300)}


@pytest.mark.parametrize("kind", CUTS)
def test_a_power_cut_takes_nothing_that_was_saved(tmp_path: Path, kind: Kind) -> None:
    cuts, started_s = times(*CUTS[kind]), time.monotonic()
    with disk(kind, 128) as small:
        counts = lives(
            "cuts", small.folder, tmp_path / "oracle", "--kills", cuts, "--seed", 5, "--image", small.image,
            "--kind", kind,
        )  # fmt: skip
    assert counts.killed == cuts
    assert counts.saved > 0
    record(
        Result(
            id="E2", part=kind, title=f"Power cut on {kind} while a bench captures, sends and prunes",
            faults={"power cuts": cuts}, seeds="5", acked=counts.saved, lost=counts.lost, doubled=counts.doubled,
            altered=counts.altered + counts.corrupt, misattributed=counts.misattributed,
            worst_latency_s=counts.worst_ready_s, latency_of="to an open outbox", full=is_full_run(),
            notes=f"{counts.in_flight} commits under way at the cut came back as done",
            seconds=time.monotonic() - started_s,
        )
    )  # fmt: skip
    assert not counts.details
    assert (counts.lost, counts.doubled, counts.altered, counts.misattributed, counts.corrupt) == (0, 0, 0, 0, 0)

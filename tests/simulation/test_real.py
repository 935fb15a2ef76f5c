"""The models are as the real outbox and the real ingest: the same lives, step for step, with both."""

from pathlib import Path

import pytest

from edge_agent.clock import BootClock
from tests.faults.record import times
from tests.simulation.card import Card
from tests.simulation.reader import KEEP
from tests.simulation.real import TwinOutbox, simulate_real
from tests.simulation.real_table import TwinError, same
from tests.standins import ManualClock

SEEDS = times(6, 200)


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_the_real_outbox_and_ingest_do_what_their_models_do(seed: int) -> None:
    report = simulate_real(seed)
    assert report.wrong == ""
    assert report.acknowledged > 0


def test_a_difference_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TwinError, match="depth: the model says 1, the real one 2"):
        same("depth", 1, 2)
    twin = TwinOutbox(tmp_path, Card(1, "epoch-1"), "first", BootClock("boot-1", clocks=ManualClock()))
    assert twin.prune(KEEP, 0) == []
    twin.close()
    again = TwinOutbox(tmp_path, twin.card, "second", BootClock("boot-2", clocks=ManualClock()))
    assert again.depth().last_seq == 0
    again.card.last_seq = 7
    again.card.depth = None
    with pytest.raises(TwinError, match="depth"):
        again.depth()
    again.close()

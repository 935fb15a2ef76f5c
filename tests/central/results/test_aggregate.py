"""Summaries: which run speaks for a plate, and figures over sera with known answers."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.results.aggregate import Run, current_runs, display, mark_current, statistics_of, summarise
from protocol.assay import Call
from protocol.endpoint import plate_endpoints
from protocol.messages import Well
from protocol.profiles import PROFILES
from tests.make import HI, NOON, make_well, make_wells

ROWS = "ABCDEFGH"


def make_run(number: int = 1, **fields: Any) -> Run:
    """A run of submission S-1001, test NDV, plate 1; eight sera at endpoint 6 unless told otherwise."""
    values: dict[str, Any] = {
        "number": number,
        "id": f"run-{number}",
        "device_id": "bench-1",
        "device_name": "Bench 1",
        "epoch": "epoch-1",
        "seq": number,
        "submission": "S-1001",
        "test": "NDV",
        "plate_number": "1",
        "profile": "hi-96",
        "profile_version": 1,
        "plate_format": 96,
        "captured_at": NOON,
        "received_at": NOON,
        "historical": False,
        "model": "hi-wells-v1",
        "image_sha256": "a" * 64,
        "image_stored": False,
        "endpoints": plate_endpoints(make_wells(), HI),
    }
    values |= fields
    code = values["submission"], values["test"], values["plate_number"]
    return Run(
        **({"assay": PROFILES[values["profile"]], "plate_id": None if None in code else "/".join(code)} | values)
    )


def sera(counts: dict[int, int]) -> list[int]:
    """The endpoints of a distribution, one by one."""
    return [k for k, count in counts.items() for _ in range(count)]


def plate_of(endpoints: list[int]) -> dict[str, Any]:
    """Row endpoints of a plate whose sera have these."""
    return {"endpoints": plate_endpoints(make_wells(dict(zip(ROWS, endpoints, strict=True))), HI)}


def numbers(runs: tuple[Run, ...]) -> list[int]:
    """Their numbers."""
    return [run.number for run in runs]


def test_the_later_reading_of_a_plate_replaces_the_earlier_one() -> None:
    assert numbers(current_runs([make_run(1), make_run(2)])) == [2]


def test_a_backlog_that_arrives_late_does_not_replace_what_the_device_read_after_it() -> None:
    early = make_run(9, seq=1)
    assert numbers(current_runs([early, make_run(5, seq=2)])) == [5]


def test_among_devices_the_last_accepted_counts() -> None:
    assert numbers(current_runs([make_run(1, seq=50), make_run(2, device_id="bench-2", seq=1)])) == [2]


def test_a_new_outbox_of_the_same_device_counts_like_another_device() -> None:
    assert numbers(current_runs([make_run(1, seq=50), make_run(2, epoch="epoch-2", seq=1)])) == [2]


def test_a_clock_never_decides() -> None:
    earlier = NOON.replace(year=1970)
    later = make_run(2, captured_at=earlier, received_at=earlier)
    assert numbers(current_runs([make_run(1), later])) == [2]


def test_a_run_without_a_code_speaks_for_no_plate() -> None:
    unknown = make_run(1, submission=None, test=None, plate_number=None)
    assert current_runs([unknown]) == ()
    assert [run.current for run in mark_current([unknown, make_run(2)])] == [False, True]


def test_a_run_that_waits_for_its_plate_is_in_no_figure() -> None:
    waiting = make_run(2, plate_id=None)
    summary = summarise("S-1001", None, [make_run(1), waiting])
    assert (summary.plates, summary.superseded, summary.sera) == (1, 0, 8)


def test_a_voided_run_counts_nowhere_and_the_one_before_speaks_again() -> None:
    assert numbers(current_runs([make_run(1), make_run(2, voided=True)])) == [1]
    summary = summarise("S-1001", None, [make_run(1), make_run(2, voided=True)])
    assert (summary.plates, summary.superseded) == (1, 0)


def test_plates_of_other_tests_and_numbers_are_other_plates() -> None:
    runs = [make_run(1), make_run(2, test="IBD"), make_run(3, plate_number="2"), make_run(4, submission="S-2")]
    assert numbers(current_runs(runs)) == [1, 2, 3, 4]


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.sampled_from("ab"), st.integers(1, 2)),
        max_size=12,
        unique_by=lambda seen: seen[:2],  # a device gives each sequence number once
    ),
    st.randoms(),
)
def test_the_order_of_the_list_does_not_matter(seen: list[tuple[int, str, int]], shuffle: random.Random) -> None:
    runs = [
        make_run(number, seq=seq, device_id=f"bench-{device}", plate_number=str(plate))
        for number, (seq, device, plate) in enumerate(seen, 1)
    ]
    mixed = list(runs)
    shuffle.shuffle(mixed)
    assert current_runs(mixed) == current_runs(runs)


@pytest.mark.parametrize(
    ("distribution", "figures"),
    [
        ({8: 4, 9: 2, 10: 1, 11: 1}, ("8", "8.875", "469.51", "1.1260", "12.69")),
        ({2: 1, 4: 2, 5: 3, 6: 2}, ("8", "4.625", "24.68", "1.3025", "28.16")),
        ({2: 2, 4: 4, 5: 6, 6: 4}, ("16", "4.625", "24.68", "1.2583", "27.21")),
    ],
)
def test_known_answers(distribution: dict[int, int], figures: tuple[str, ...]) -> None:
    found = statistics_of([(k, HI) for k in sera(distribution)])
    assert found is not None
    shown = ((found.n, 0), (found.mean_log2, 3), (found.gmt, 2), (found.sd_log2, 4), (found.cv_percent, 2))
    assert tuple(display(value, places) for value, places in shown) == figures


def test_the_spread_and_the_share_at_the_cut_off() -> None:
    found = statistics_of([(k, HI) for k in (2, 4, 4, 5, 5, 5, 6, 6)])
    assert found is not None
    assert (found.minimum, found.median, found.maximum) == (2, 5, 6)
    assert (found.positive, found.positive_share) == (7, 0.875)


def test_endpoint_0_counts_as_0_unless_excluded_and_the_report_says_which() -> None:
    titres = [(k, HI) for k in (0, 4, 8)]
    counted, excluded = statistics_of(titres), statistics_of(titres, zeros="excluded")
    assert counted is not None
    assert excluded is not None
    assert (counted.n, counted.mean_log2, counted.zeros) == (3, 4.0, "counted")
    assert (excluded.n, excluded.mean_log2, excluded.zeros) == (2, 6.0, "excluded")


def test_figures_that_do_not_exist_are_none() -> None:
    one, zeros = statistics_of([(5, HI)]), statistics_of([(0, HI), (0, HI)])
    assert one is not None
    assert (one.sd_log2, one.cv_percent) == (None, None)
    assert zeros is not None
    assert zeros.cv_percent is None
    assert statistics_of([]) is None
    assert statistics_of([(0, HI)], zeros="excluded") is None


def test_the_gmt_follows_the_first_dilution() -> None:
    from_ten = msgspec.structs.replace(HI, first_dilution=10)
    found = statistics_of([(4, from_ten), (4, from_ten)])
    assert found is not None
    assert found.gmt == pytest.approx(80)  # 1:10, 1:20, 1:40, 1:80


def test_rounding_is_half_up_and_only_for_display() -> None:
    assert [display(value, 2) for value in (4.625, 1.005, 2.675, 0.125)] == ["4.63", "1.01", "2.68", "0.13"]


def test_a_summary_counts_the_current_runs_only() -> None:
    first = make_run(1, **plate_of([2] * 8))
    again = make_run(2, **plate_of([2, 4, 4, 5, 5, 5, 6, 6]))
    other = make_run(3, plate_number="2", **plate_of([2, 4, 4, 5, 5, 5, 6, 6]))
    found = summarise("S-1001", "NDV", [first, again, other])
    assert (found.plates, found.superseded, found.sera) == (2, 1, 16)
    assert {k: count for k, count in found.distribution.items() if count} == {2: 2, 4: 4, 5: 6, 6: 4}
    assert list(found.distribution) == list(range(13))
    assert found.statistics is not None
    assert display(found.statistics.sd_log2, 4) == "1.2583"


def test_a_row_that_could_not_be_read_is_in_no_figure() -> None:
    wells = make_wells({"A": 4}) | {f"B{column}": make_well("not_read") for column in range(1, 13)}
    found = summarise("S-1001", "NDV", [make_run(1, endpoints=plate_endpoints(wells, HI))])
    assert (found.sera, found.unread, found.uncertain) == (7, 1, 0)
    assert found.distribution[0] == 0
    assert found.statistics is not None
    assert found.statistics.n == 7


def test_a_row_that_may_be_far_off_is_in_no_figure_but_counts_once_its_well_is_judged() -> None:
    doubtful = Well(Call.FLOWING, 0.55, {Call.FLOWING: 0.55, Call.BUTTON: 0.45}, ("low_confidence",))
    for judged, sera_found in ((doubtful, 7), (make_well("button", 1.0), 8)):
        endpoints = plate_endpoints(make_wells({"A": 4}) | {"A7": judged}, HI)
        found = summarise("S-1001", "NDV", [make_run(1, endpoints=endpoints)])
        assert (found.sera, found.unread, found.distribution[7]) == (sera_found, 8 - sera_found, 0)
        assert found.uncertain == found.unread
        assert found.statistics is not None
        assert found.statistics.n == sera_found


def test_a_plate_without_any_endpoint_is_eight_unread_sera() -> None:
    found = summarise("S-1001", "NDV", [make_run(1, endpoints={})])
    assert (found.plates, found.sera, found.unread) == (1, 0, 8)


def test_rows_that_a_person_should_look_at_are_counted() -> None:
    wells = make_wells() | {f"A{column}": make_well("obscured") for column in range(1, 8)}
    found = summarise("S-1001", "NDV", [make_run(1, endpoints=plate_endpoints(wells, HI))])
    assert (found.low_grade, found.sera) == (1, 8)


def test_a_summary_of_a_submission_spans_its_tests() -> None:
    runs = [make_run(1), make_run(2, test="IBD"), make_run(3, submission="S-2")]
    assert summarise("S-1001", None, runs).plates == 2
    assert summarise("S-1001", "IBD", runs).plates == 1


def test_a_summary_of_nothing_has_no_statistics() -> None:
    found = summarise("S-9", None, [])
    assert (found.plates, found.sera, found.statistics) == (0, 0, None)
    assert sum(found.distribution.values()) == 0


def test_eleven_dilutions_have_a_shorter_distribution() -> None:
    profile = PROFILES["hi-96-serum-control"]
    run = make_run(1, profile=profile.name, endpoints=plate_endpoints(make_wells(profile=profile), profile))
    assert list(summarise("S-1001", None, [run]).distribution) == list(range(12))

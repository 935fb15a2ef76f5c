"""Well calls → endpoints, grades and flags, as a laboratory would judge them."""

import itertools
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.assay import AssayProfile, Call, ControlWells
from protocol.endpoint import (
    AGAIN_ODDS,
    RowEndpoint,
    WellEvidence,
    chance_within_one,
    distribution,
    evidence,
    last_flowing,
    plate_endpoints,
    row_endpoint,
    seen_endpoints,
    step_fit,
    step_likelihoods,
    titre_text,
)
from protocol.messages import Well
from protocol.profiles import PROFILES
from tests.make import HI, make_reading, make_well, make_wells, replace

LETTERS = {
    "F": "flowing",
    "b": "button",
    "p": "partial",
    "d": "diffuse",
    "e": "empty",
    "o": "obscured",
    "-": "not_read",
}


def row(letters: str, p: float = 0.97, doubtful: tuple[int, ...] = ()) -> list[WellEvidence]:
    """`FFFbddd…`: one dilution per letter, each call with probability `p`; `doubtful` columns (from 1) are flagged."""
    calls = [Call(LETTERS[letter]) for letter in letters]
    return [
        WellEvidence(call, p if call is Call.FLOWING else 1 - p, flagged=column in doubtful)
        for column, call in enumerate(calls, 1)
    ]


def test_a_clean_row_has_the_same_endpoint_by_both_rules_and_grade_high() -> None:
    endpoint = row_endpoint(row("FFFFFFFbdddd"))
    assert (endpoint.last_flowing, endpoint.step_fit) == (7, 7)
    assert endpoint.grade == "high"
    assert endpoint.flags == ()


@pytest.mark.parametrize(
    ("letters", "flags"),
    [
        ("bFFFFFbddddd", ("prozone",)),
        ("FF-FFFbddddd", ("gap",)),
        ("FFFFbddFdddd", ("island",)),
        ("FFFFFFFFFFFF", ("at_limit",)),
        ("bddddddddddd", ("below",)),
        ("bF-FFFbddddd", ("prozone", "gap")),
    ],
)
def test_what_breaks_a_clean_step_is_flagged(letters: str, flags: tuple[str, ...]) -> None:
    assert row_endpoint(row(letters)).flags == flags


def test_a_prozone_does_not_stop_the_fit() -> None:
    endpoint = row_endpoint(row("bbFFFFFbdddd"))
    assert endpoint.step_fit == endpoint.last_flowing == 7


def test_an_island_moves_the_last_flowing_but_not_the_fit_and_a_person_looks() -> None:
    endpoint = row_endpoint(row("FFFFbdddFddd"))
    assert (endpoint.last_flowing, endpoint.step_fit) == (9, 4)
    assert endpoint.grade == "low"


def test_two_equally_likely_steps_give_the_lower_titre_and_a_person_looks() -> None:
    endpoint = row_endpoint(row("FFFFbFdddddd"))
    assert (endpoint.last_flowing, endpoint.step_fit, endpoint.grade) == (6, 4, "low")


def test_a_flagged_well_beside_the_endpoint_keeps_it_from_high_and_one_far_away_does_not() -> None:
    assert row_endpoint(row("FFFFFbdddddd", doubtful=(6,))).grade == "medium"
    assert row_endpoint(row("FFFFFbdddddd", doubtful=(11,))).grade == "high"


def test_an_unsure_boundary_well_keeps_a_row_from_high() -> None:
    wells = row("FFFFFbdddddd")
    wells[4] = replace(wells[4], p_inhibited=0.6)
    assert row_endpoint(wells).grade == "medium"


def test_a_row_that_nobody_could_read_has_no_endpoint() -> None:
    endpoint = row_endpoint(row("------oooooo"))
    assert endpoint == RowEndpoint(None, None, None, "low", ("gap",))


def test_wells_without_cells_are_not_negative() -> None:
    assert row_endpoint(row("eeeeeeeeeeee")).last_flowing is None
    assert row_endpoint(row("eeeeeeeFeeee")).grade == "low"


def test_an_unread_boundary_never_raises_a_titre_and_a_person_looks() -> None:
    endpoint = row_endpoint(row("FFFFF---dddd"))
    assert endpoint.step_fit == 5
    assert endpoint.margin_ln == 0
    assert endpoint.grade == "low"


def test_one_sure_well_never_outweighs_the_rest_of_the_row() -> None:
    assert row_endpoint(row("FFFFbddddddF", p=1.0)).step_fit == 4


@given(st.lists(st.tuples(st.sampled_from(list(Call)), st.floats(0, 1)), min_size=1, max_size=8), st.integers(0, 8))
def test_the_chance_of_an_endpoint_near_k_is_that_of_all_ways_the_wells_may_be(
    drawn: list[tuple[Call, float]], k: int
) -> None:
    wells = [WellEvidence(call, p) for call, p in drawn]
    near = all_ways = 0.0
    for flowing in itertools.product((False, True), repeat=len(wells)):
        if any(flows and not well.readable for flows, well in zip(flowing, wells, strict=True)):
            continue
        last = max((column for column, flows in enumerate(flowing, 1) if flows), default=0)
        read = [(flows, well.p_inhibited) for flows, well in zip(flowing, wells, strict=True) if well.readable]
        again = sum(flows and not before for (before, _), (flows, _) in itertools.pairwise(read))
        weight = AGAIN_ODDS**again * math.prod(p if flows else 1 - p for flows, p in read)
        all_ways += weight
        near += weight * (abs(last - k) <= 1)
    assert chance_within_one(wells, k) == pytest.approx(near / all_ways)


def island(p: float) -> dict[str, Well]:
    """Row A flows up to column 5, and with this probability in column 8 too."""
    candidates = {Call.FLOWING: p, Call.PARTIAL: round(1 - p, 4)}
    return make_wells(5) | {"A8": Well(max(candidates, key=lambda call: candidates[call]), max(p, 1 - p), candidates)}


def _first_of_the_highest(likelihoods: list[float]) -> int:
    return [round(each, 9) for each in likelihoods].index(max(round(each, 9) for each in likelihoods))


@given(
    st.lists(st.tuples(st.sampled_from(list(Call)), st.sampled_from((0.0, 0.3, 0.5, 0.5000000001, 1.0))), min_size=1)
)
def test_steps_that_are_the_same_to_nine_digits_tie_and_the_lowest_is_given(drawn: list[tuple[Call, float]]) -> None:
    wells = [WellEvidence(call, p) for call, p in drawn]
    fit = step_fit(wells)
    if fit is not None:
        likelihoods = step_likelihoods(wells)
        best = _first_of_the_highest(likelihoods)
        second = _first_of_the_highest([*likelihoods[:best], -math.inf, *likelihoods[best + 1 :]])
        assert fit == (best, max(0.0, likelihoods[best] - likelihoods[second]))


@given(st.lists(st.tuples(st.sampled_from("Fbd"), st.sampled_from((0.2, 0.6, 1.0))), min_size=12, max_size=12))
def test_a_row_is_judged_by_its_own_wells_and_rules_however_many_were_judged_before(drawn: list) -> None:
    wells = make_wells()
    for name, (letter, p) in zip(HI.series[0].wells, drawn, strict=True):
        call = Call({"F": "flowing", "b": "button", "d": "diffuse"}[letter])
        wells[name] = Well(call, p, {call: p, Call.PARTIAL: round(1 - p, 1)})
    seen = [evidence(wells[name], HI) for name in HI.series[0].wells]
    for failed in (False, True):
        for least in (None, 0.6, 0.99):
            profile = replace(HI, least_within_one=least, controls=_failing(HI) if failed else HI.controls)
            own = row_endpoint(seen, inhibited=HI.inhibited, control_failed=failed)
            k = own.reported(profile)
            far_off = k is not None and least is not None and chance_within_one(seen, k) < least
            found = plate_endpoints(wells, profile)["A"]
            assert found == (replace(own, grade="low", flags=(*own.flags, "uncertain")) if far_off else own)


def _failing(profile: AssayProfile) -> tuple[ControlWells, ...]:
    """One control for the whole plate, of a well that is flowing, and expected to be empty."""
    return (ControlWells("rbc_control", (profile.series[1].wells[0],), (Call.EMPTY,)),)


def test_a_row_whose_titre_may_lie_far_off_has_none_and_a_person_looks() -> None:
    endpoint = plate_endpoints(island(0.55), HI)["A"]
    assert endpoint.reported(HI) is None
    assert (endpoint.last_flowing, endpoint.step_fit, endpoint.grade) == (8, 5, "low")
    assert endpoint.flags == ("island", "uncertain")
    assert distribution({"A": endpoint}, HI) == dict.fromkeys(range(13), 0)


def test_what_is_not_called_may_leave_a_titre_uncertain_too() -> None:
    assert plate_endpoints(island(0.49), HI)["A"].flags == ("uncertain",)


@pytest.mark.parametrize(("p", "reported"), [(0.3, 5), (0.95, 8)])
def test_a_titre_is_given_where_its_wells_are_sure_enough(p: float, reported: int) -> None:
    assert plate_endpoints(island(p), HI)["A"].reported(HI) == reported


def test_one_doubtful_well_at_the_boundary_withholds_no_titre() -> None:
    unsure = Well(Call.FLOWING, 0.5, {Call.FLOWING: 0.5, Call.BUTTON: 0.5}, ("low_confidence",))
    endpoint = plate_endpoints(make_wells(5) | {"A6": unsure}, HI)["A"]
    assert endpoint.reported(HI) == 6
    assert endpoint.grade == "medium"


def test_the_titre_is_there_once_somebody_has_judged_the_well() -> None:
    judged = make_wells(5) | {"A8": Well(Call.PARTIAL, 1.0, {Call.PARTIAL: 1.0}, ("overridden",))}
    assert plate_endpoints(judged, HI)["A"].reported(HI) == 5


def test_a_profile_without_a_limit_gives_every_titre() -> None:
    endpoint = plate_endpoints(island(0.55), replace(HI, least_within_one=None))["A"]
    assert (endpoint.reported(HI), endpoint.flags) == (8, ("island",))


def test_a_series_without_wells_is_refused() -> None:
    with pytest.raises(ValueError, match="no wells"):
        row_endpoint([])


@given(st.lists(st.tuples(st.sampled_from(list(Call)), st.floats(0, 1)), min_size=1, max_size=24))
def test_the_fit_is_the_most_likely_of_all_steps(evidence: list[tuple[Call, float]]) -> None:
    wells = [WellEvidence(call, p) for call, p in evidence]
    fit = step_fit(wells)
    if fit is None:
        assert last_flowing(wells) is None
        return
    k, margin = fit
    assert 0 <= k <= len(wells)
    assert margin >= 0
    worse = step_fit([w for w in wells if w.readable])
    assert worse is not None
    assert worse[1] == pytest.approx(margin) or margin == 0


@given(st.text(alphabet="Fbdpeo-", min_size=1, max_size=12))
def test_an_endpoint_is_within_the_series_and_never_invented(letters: str) -> None:
    endpoint = row_endpoint(row(letters))
    assert (endpoint.last_flowing is None) == (not set(letters) & set("Fbdp"))
    if endpoint.last_flowing:
        assert letters[endpoint.last_flowing - 1] == "F"


def test_a_missing_well_is_an_unread_well() -> None:
    wells = make_wells(6)
    del wells["A3"]
    assert plate_endpoints(wells, HI)["A"].flags == ("gap",)


@pytest.mark.parametrize("doubt", [{"a1_from": "unknown"}, {"mirrored": True}], ids=str)
def test_a_plate_of_unknown_orientation_has_no_endpoints(doubt: dict) -> None:
    plate = make_reading().plate
    assert len(seen_endpoints(plate, make_wells(6), HI)) == 8
    assert seen_endpoints(replace(plate, **doubt), make_wells(6), HI) == {}


def test_a_failed_serum_control_lowers_its_own_row_only() -> None:
    profile = PROFILES["hi-96-serum-control"]
    wells = make_wells(5, profile) | {"C12": make_well("diffuse"), "D12": make_well("not_read")}
    endpoints = plate_endpoints(wells, profile)
    assert endpoints["A"].grade == "high"
    for failed in ("C", "D"):
        assert endpoints[failed].grade == "low"
        assert endpoints[failed].flags == ("control_failed",)


def test_rows_without_endpoint_are_left_out_of_the_distribution() -> None:
    wells = make_wells({"A": 3, "B": 3, "C": 0}) | {name: make_well("not_read") for name in HI.format.row("H")}
    counts = distribution(plate_endpoints(wells, HI), HI)
    assert sum(counts.values()) == 7
    assert (counts[0], counts[3], counts[6]) == (1, 2, 4)


def test_a_titre_is_written_as_laboratories_write_it() -> None:
    assert [titre_text(k, HI) for k in (0, 1, 4, 12)] == ["<1:2", "1:2", "1:16", "≥1:4096"]
    from_ten = replace(HI, first_dilution=10)
    assert titre_text(3, from_ten) == "1:40"


@pytest.fixture(scope="module")
def vectors(plates: Path) -> dict:
    """Detections of another detector on a real plate, with the endpoints they must give."""
    return json.loads((plates / "hi" / "endpoint-vectors.json").read_text())


def _vector_row(detections: list) -> list[WellEvidence]:
    """Each well's best detection; (1 + score) / 2 stands for its probability."""
    wells = []
    for found in detections:
        best = max(
            found if isinstance(found, list) else [found] if found else [], key=lambda d: d["conf"], default=None
        )
        if best is None:
            wells.append(WellEvidence(Call.NOT_READ, 0.5))
        else:
            p = (1 + best["conf"]) / 2
            flows = best["cls"] == "Flowing"
            wells.append(WellEvidence(Call.FLOWING if flows else Call.BUTTON, p if flows else 1 - p))
    return wells


def test_both_rules_give_the_known_endpoints_of_a_real_plate(vectors: dict) -> None:
    for label, detections in vectors["wells"].items():
        wells = _vector_row(detections)
        fit = step_fit(wells)
        expected = vectors["step_fit_with_p_(1+score)/2"][label]
        assert last_flowing(wells) == vectors["last_flowing"][label]
        assert fit is not None
        assert fit[0] == expected["k"]
        assert fit[1] == pytest.approx(expected["margin_ln"], abs=0.001)

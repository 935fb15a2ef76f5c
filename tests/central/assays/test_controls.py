"""Controls and control charts: what passes, what fails, which of Westgard's rules a point breaks."""

from datetime import timedelta

import pytest

from central.assays.charts import ENOUGH, Observation, broken, chart
from central.assays.controls import ControlSerum, Validity, judge
from protocol.endpoint import plate_endpoints
from protocol.profiles import PROFILES
from tests.make import HI, NOON, make_well, make_wells

CONTROLLED = PROFILES["hi-96-serum-control"]
POSITIVE = ControlSerum(
    id="p", name="NDV positive", lot="7", kind="positive", profile="hi-96", expected_log2=6, tolerance_log2=1
)
NEGATIVE = ControlSerum(
    id="n", name="NDV negative", lot="3", kind="negative", profile="hi-96", expected_log2=None, tolerance_log2=2
)


def of_sera(endpoints: dict[str, int], **sera: ControlSerum) -> Validity:
    """The verdict on a plate whose sera have these endpoints, with these control sera in its rows."""
    wells = make_wells(endpoints)
    return judge(wells, plate_endpoints(wells, HI), HI, sera)


def test_a_plate_without_controls_is_not_called_invalid() -> None:
    assert of_sera({}).checks == ()
    assert of_sera({}).valid


def test_control_wells_must_be_called_as_the_profile_expects() -> None:
    wells = make_wells(profile=CONTROLLED)
    assert judge(wells, {}, CONTROLLED, {}).valid
    wells |= {"C12": make_well("button"), "E12": make_well("not_read")}
    (check,) = judge(wells, {}, CONTROLLED, {}).failed
    assert (check.control, check.where, check.expected) == ("serum control", "A12 to H12", "flowing")
    assert check.found == "C12 button, E12 not read"


@pytest.mark.parametrize(("k", "valid"), [(4, False), (5, True), (6, True), (7, True), (8, False)])
def test_a_positive_control_serum_is_within_its_tolerance(k: int, valid: bool) -> None:
    assert of_sera({"A": k}, A=POSITIVE).valid == valid


@pytest.mark.parametrize(("k", "valid"), [(0, True), (2, True), (3, False)])
def test_a_negative_control_serum_is_at_most_its_tolerance(k: int, valid: bool) -> None:
    assert of_sera({"H": k}, H=NEGATIVE).valid == valid


def test_a_control_serum_without_a_result_or_of_another_assay_has_failed() -> None:
    endpoints = plate_endpoints(make_wells(), HI)
    del endpoints["A"]
    assert judge(make_wells(), endpoints, HI, {"A": POSITIVE}).failed[0].found == "no result"
    wells = make_wells(profile=CONTROLLED)
    other = judge(wells, plate_endpoints(wells, CONTROLLED), CONTROLLED, {"A": POSITIVE})
    assert other.failed[0].found == "one of hi-96-serum-control"


@pytest.mark.parametrize(
    ("zs", "rules"),
    [
        ([0.0, 1.9], ()),
        ([0.0, 2.1], ("1-2s",)),
        ([0.0, -3.1], ("1-2s", "1-3s")),
        ([2.2, 2.1], ("1-2s", "2-2s")),
        ([-2.1, 2.1], ("1-2s", "R-4s")),
        ([1.1, 1.2, 1.3, 1.4], ("4-1s",)),
        ([1.1, 1.2, -1.3, 1.4], ()),
        ([0.1] * 10, ("10x",)),
        ([0.1] * 9, ()),
        ([0.1] * 9 + [-0.1], ()),
        ([None, None], ()),
    ],
)
def test_each_rule_is_broken_by_the_point_that_completes_it(zs: list[float | None], rules: tuple[str, ...]) -> None:
    assert broken(zs) == rules


def observations(*values: int) -> list[Observation]:
    """These endpoints, a day apart."""
    return [Observation(f"run-{day}", "A", NOON + timedelta(days=day), value) for day, value in enumerate(values)]


def test_a_chart_without_a_target_is_provisional_until_one_is_set() -> None:
    found = chart(observations(6, 6, 7, 5))
    assert (found.mean, found.provisional, found.enough) == (6.0, True, False)
    assert found.sd == pytest.approx(0.8165, abs=1e-4)
    assert chart(observations(*[6] * ENOUGH)).enough
    target = chart(observations(6, 9), (6.0, 1.0))
    assert (target.provisional, target.points[1].z, target.points[1].rules) == (False, 3.0, ("1-2s",))


def test_points_that_are_all_alike_break_nothing_but_running_on_one_side_cannot_happen() -> None:
    assert all(point.rules == () and point.z == 0 for point in chart(observations(*[6] * 12)).points)


def test_one_point_alone_has_no_deviation() -> None:
    assert chart(observations(6)).points[0].z is None
    assert chart([]).mean is None

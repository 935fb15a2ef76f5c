"""What may be said of a run, and the run as it then stands: values in, values out."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.review.corrections import (
    Action,
    Correction,
    CorrectionError,
    Effective,
    Step,
    cache_of,
    check_steps,
    effective,
    possible_calls,
)
from protocol.assay import Call
from protocol.endpoint import seen_endpoints
from protocol.messages import PlateReading
from protocol.profiles import PROFILES
from tests.central.review.reviews import REREAD, VOID, accept, doubtful, override, report, withdraw, withhold
from tests.make import HI, NOON, make_reading, make_well, make_wells

CONTROLLED = PROFILES["hi-96-serum-control"]
PLAIN = make_reading(1)
DOUBTFUL = make_reading(1, wells=doubtful())


def said(*steps: Step, reading: PlateReading = PLAIN) -> tuple[Correction, ...]:
    """These steps, each kept as the next revision."""
    return tuple(
        Correction(
            number=number,
            revision=number + 1,
            action=step.action,
            target=step.target,
            call=step.call,
            machine_call=None if step.call is None else reading.wells[str(step.target)].call,
            reason_code=step.reason_code,
            reason=step.reason,
            at=NOON,
            user_id="rita",
        )
        for number, step in enumerate(steps, 1)
    )


def after(*steps: Step, reading: PlateReading = PLAIN) -> Effective:
    """The run after these steps."""
    return effective(reading, said(*steps, reading=reading), PROFILES[reading.profile])


def own(reading: PlateReading) -> dict[str, object]:
    """The endpoints that a run of this reading was accepted with."""
    found = msgspec.to_builtins(seen_endpoints(reading.plate, reading.wells, PROFILES[reading.profile]))
    assert isinstance(found, dict)
    return found


def test_a_run_of_which_nothing_was_said_is_as_the_machine_saw_it() -> None:
    assert after().wells == PLAIN.wells
    assert after().endpoints == seen_endpoints(PLAIN.plate, PLAIN.wells, HI)
    assert cache_of(own(PLAIN), after()).revised is None


def test_an_overridden_well_is_certain_and_moves_its_rows_endpoint_alone() -> None:
    now = after(override("A6"))
    assert (now.wells["A6"].call, now.wells["A6"].confidence, now.wells["A6"].flags) == ("button", 1.0, ("overridden",))
    assert (now.endpoints["A"].last_flowing, now.endpoints["B"].last_flowing) == (5, 6)
    assert PLAIN.wells["A6"].call is Call.FLOWING
    revised = cache_of(own(PLAIN), now).revised
    assert revised is not None
    assert list(revised) == ["A"]


def test_a_withdrawn_override_leaves_nothing_behind() -> None:
    assert after(override("A6"), withdraw("A6")) == after()


def test_a_well_that_is_said_to_be_unreadable_says_nothing() -> None:
    assert "gap" in after(override("A3", Call.OBSCURED)).endpoints["A"].flags


def test_a_row_that_is_not_reportable_has_no_endpoint_until_it_is_reportable_again() -> None:
    now = after(withhold("C"))
    assert ("C" in now.endpoints, now.not_reportable) == (False, ("C",))
    assert cache_of(own(PLAIN), now).revised == {"C": None}
    assert after(withhold("C"), report("C")) == after()


def test_a_low_row_waits_until_it_or_the_run_is_accepted() -> None:
    assert after(reading=DOUBTFUL).open_rows == ("B",)
    assert after(accept("B"), reading=DOUBTFUL).settled
    assert after(accept(), reading=DOUBTFUL).settled
    assert not after(accept("C"), reading=DOUBTFUL).settled


def test_what_is_corrected_after_it_was_accepted_is_accepted_again() -> None:
    assert after(accept(), override("B9", Call.PARTIAL), reading=DOUBTFUL).open_rows == ("B",)
    assert after(accept(), override("A9", Call.PARTIAL), reading=DOUBTFUL).settled
    assert after(accept(), withhold("B"), report("B"), reading=DOUBTFUL).open_rows == ("B",)


def test_a_corrected_control_well_opens_every_row_again() -> None:
    low = make_wells(profile=CONTROLLED) | {"B7": make_well("not_read")}
    reading = make_reading(1, profile=CONTROLLED.name, wells=low)
    assert after(accept(), reading=reading).settled
    now = after(accept(), override("D12", Call.BUTTON), reading=reading)
    assert set(now.open_rows) == {"B", "D"}  # D's own control fails; B waits as before
    assert "control_failed" in now.endpoints["D"].flags


def test_a_plate_of_which_nobody_knows_how_it_lies_waits_for_a_person() -> None:
    unknown = make_reading(1, plate=msgspec.structs.replace(PLAIN.plate, a1_from="unknown"))
    assert not after(reading=unknown).settled
    assert after(accept(), reading=unknown).settled


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (override("A13"), "well 'A13'"),
        (override("A6", Call.GROWTH), "call 'growth'"),
        (Step(Action.OVERRIDE, "A6", None, "misread"), "call None"),
        (override("A6", reason_code="mood"), "reason 'mood'"),
        (override("A6", reason_code="other", reason="  "), "no text"),
        (withdraw("A6"), "nothing to withdraw at A6"),
        (withhold("I"), "row 'I'"),
        (report("A"), "row A is reportable"),
        (Step(Action.VOID, "A", None, "controls"), "void of 'A'"),
        (Step(Action.ACCEPT, "A", Call.BUTTON, "reviewed"), "call 'button'"),
        (Step(Action.INTERPRET, None, None, "version"), "interpret"),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_value(step: Step, why: str) -> None:
    with pytest.raises(CorrectionError, match=why):
        check_steps([step], after(), PLAIN, HI)


def test_nothing_is_said_of_a_void_run_and_nothing_twice_at_once() -> None:
    with pytest.raises(CorrectionError, match="for ever"):
        check_steps([accept()], after(VOID), PLAIN, HI)
    with pytest.raises(CorrectionError, match="two corrections of A6"):
        check_steps([override("A6"), override("A6", Call.PARTIAL)], after(), PLAIN, HI)
    with pytest.raises(CorrectionError, match="0 corrections"):
        check_steps([], after(), PLAIN, HI)


def test_accepting_a_run_withdraws_the_wish_for_another_reading() -> None:
    assert after(REREAD).reread
    assert not after(REREAD, accept()).reread


STEPS = st.one_of(
    st.builds(override, st.sampled_from(HI.format.names()), st.sampled_from(possible_calls(HI))),
    st.builds(withdraw, st.sampled_from(HI.format.names())),
    st.builds(withhold, st.sampled_from("ABCDEFGH")),
    st.builds(report, st.sampled_from("ABCDEFGH")),
    st.builds(accept, st.sampled_from([None, *"ABCDEFGH"])),
)


@given(st.lists(STEPS, max_size=30))
def test_whatever_was_said_the_lists_show_what_follows_from_it(steps: list[Step]) -> None:
    taken: list[Step] = []
    for step in steps:
        try:
            check_steps([step], after(*taken, reading=DOUBTFUL), DOUBTFUL, HI)
        except CorrectionError:
            continue
        taken.append(step)
    now = after(*taken, reading=DOUBTFUL)
    before = own(DOUBTFUL)
    shown = before | (cache_of(before, now).revised or {})
    assert {row: each for row, each in shown.items() if each is not None} == msgspec.to_builtins(now.endpoints)
    assert set(now.endpoints).isdisjoint(now.not_reportable)
    for name, well in DOUBTFUL.wells.items():
        assert (now.wells[name] == well) == (name not in now.overridden)

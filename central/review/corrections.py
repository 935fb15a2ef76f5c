"""What a reviewer may say of a run, and the run as it then stands. Pure: reading and corrections in, values out.

    action     of      what it does
    ---------  ------  -------------------------------------------------------------------------------------
    override   well    the well is taken for this call, with certainty; the machine's call stays beside it
    withdraw   well    the machine's call again
    accept     row     somebody looked at it and has nothing to say; of the whole run without a row
    withhold   row     not reportable: the row has no result and is in no figure
    report     row     reportable again
    reread     run     a new reading of the plate is asked for; accepting the run withdraws that
    void       run     it counts nowhere, for ever: there is no way back, the plate is read again
    interpret  run     its titres are worked out by another version of its profile (`changes.interpret`)

The machine's call is never overwritten. What is corrected after it was accepted is to be accepted again: it is another
thing than the one that was looked at. Nothing follows a void.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from central.assays.interpret import revised
from central.laboratory.matching import NO_DOUBTS, is_flagged, worst_grade
from protocol.assay import AssayProfile, Call
from protocol.endpoint import RowEndpoint, seen_endpoints
from protocol.messages import PlateReading, Well

OVERRIDDEN: Final = "overridden"
MOST_STEPS: Final = 400


class Action(StrEnum):
    """What may be said."""

    OVERRIDE = "override"
    WITHDRAW = "withdraw"
    ACCEPT = "accept"
    WITHHOLD = "withhold"
    REPORT = "report"
    REREAD = "reread"
    VOID = "void"
    INTERPRET = "interpret"


# Why, in words that can be counted; `other` needs a text.
REASONS: Final[dict[Action, dict[str, str]]] = {
    Action.OVERRIDE: {
        "misread": "the well was misread",
        "artefact": "dirt, a bubble or a reflection",
        "dispensing": "pipetting error",
        "confirmed": "looked at and confirmed",
        "other": "other (say what)",
    },
    Action.WITHDRAW: {"second_look": "a second look", "other": "other (say what)"},
    Action.ACCEPT: {"reviewed": "reviewed"},
    Action.WITHHOLD: {
        "serum": "the serum (too little, haemolysed, spoilt)",
        "dispensing": "pipetting error",
        "non_specific": "non-specific agglutination",
        "unreadable": "cannot be read",
        "other": "other (say what)",
    },
    Action.REPORT: {"second_look": "a second look", "other": "other (say what)"},
    Action.REREAD: {
        "picture": "the picture is not good enough",
        "disturbed": "the plate was moved or not settled",
        "other": "other (say what)",
    },
    Action.VOID: {
        "wrong_plate": "another plate than the code says",
        "wrong_profile": "read by the wrong profile",
        "not_settled": "read too early or too late",
        "controls": "the controls failed",
        "other": "other (say what)",
    },
    Action.INTERPRET: {"version": "another version of the profile"},
}
# What each action is said of.
_OF_A_WELL: Final = frozenset({Action.OVERRIDE, Action.WITHDRAW})
_OF_A_ROW: Final = frozenset({Action.WITHHOLD, Action.REPORT})


class CorrectionError(ValueError):
    """Something that cannot be said of this run; the message holds the value and the expectation."""


class Step(msgspec.Struct, frozen=True):
    """One thing that a reviewer wants to say; `target` is a well or a row, None: the run."""

    action: Action
    target: str | None = None
    call: Call | None = None
    reason_code: str = ""
    reason: str | None = None


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was said, as it is kept. `revision` is the one that it made."""

    number: int
    revision: int
    action: Action
    target: str | None
    call: Call | None
    machine_call: Call | None
    reason_code: str
    reason: str | None
    at: datetime
    user_id: str


class Effective(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it stands. `endpoints` lack the rows of `not_reportable`; `overridden` says by which correction.

    `accepted` are the rows that somebody looked at as they are now; `run_accepted`: he had nothing to say of the whole.
    """

    wells: dict[str, Well]
    endpoints: dict[str, RowEndpoint]
    not_reportable: tuple[str, ...]
    overridden: dict[str, Correction]
    accepted: frozenset[str]
    run_accepted: bool
    reread: bool
    voided: bool

    @property
    def open_rows(self) -> tuple[str, ...]:
        """Rows that somebody should look at, and nobody has."""
        return tuple(row for row, endpoint in self.endpoints.items() if is_doubtful(endpoint) and not self._seen(row))

    @property
    def settled(self) -> bool:
        """Whether nothing waits for a reviewer. A run without endpoints speaks well by well: somebody looks at it."""
        return not self.open_rows and (self.run_accepted or bool(self.endpoints))

    def _seen(self, row: str) -> bool:
        return self.run_accepted or row in self.accepted


def is_doubtful(endpoint: RowEndpoint) -> bool:
    """Whether a person should look at a row: low or medium grade, or a flag that is more than the end of the series."""
    return endpoint.grade != "high" or not NO_DOUBTS.issuperset(endpoint.flags)


def effective(reading: PlateReading, corrections: Iterable[Correction], profile: AssayProfile) -> Effective:
    """The run as it stands after these corrections, in their order, by this profile."""
    rows_of = {well: series.row for series in profile.series for well in series.wells}
    overridden: dict[str, Correction] = {}
    withheld: set[str] = set()
    accepted: set[str] = set()
    run_accepted = reread = voided = False
    for each in sorted(corrections, key=lambda correction: correction.number):
        target = each.target or ""
        if each.action in _OF_A_WELL:
            if each.action is Action.OVERRIDE:
                overridden[target] = each
            else:
                overridden.pop(target, None)
            # A control well speaks for every row.
            accepted -= {rows_of[target]} if target in rows_of else set(accepted)
            run_accepted = False
        elif each.action in _OF_A_ROW:
            withheld = withheld | {target} if each.action is Action.WITHHOLD else withheld - {target}
            accepted.discard(target)
            run_accepted = run_accepted and each.action is Action.WITHHOLD
        elif each.action is Action.ACCEPT:
            if each.target is None:
                run_accepted, reread = True, False
                accepted = set(rows_of.values())
            else:
                accepted.add(target)
        elif each.action is Action.INTERPRET:
            accepted, run_accepted = set(), False
        else:
            reread, voided = reread or each.action is Action.REREAD, voided or each.action is Action.VOID
    wells = reading.wells | {name: _overridden(reading.wells.get(name), each) for name, each in overridden.items()}
    endpoints = seen_endpoints(reading.plate, wells, profile)
    return Effective(
        wells=wells,
        endpoints={row: endpoint for row, endpoint in endpoints.items() if row not in withheld},
        not_reportable=tuple(series.row for series in profile.series if series.row in withheld),
        overridden=overridden,
        accepted=frozenset(accepted),
        run_accepted=run_accepted,
        reread=reread,
        voided=voided,
    )


def _overridden(well: Well | None, correction: Correction) -> Well:
    """The well as the reviewer says, certain; what was measured of it stays."""
    call = correction.call
    assert call is not None, f"correction {correction.number} overrides a well with no call"
    sure: dict[str, Any] = {"call": call, "confidence": float(call.is_read), "flags": (OVERRIDDEN,)}
    sure["candidates"] = {call: 1.0} if call.is_read else {}
    return Well(**sure) if well is None else msgspec.structs.replace(well, **sure)


def possible_calls(profile: AssayProfile) -> tuple[Call, ...]:
    """What a reviewer may take a well for: the profile's calls, or that it cannot be read."""
    return (*profile.calls, Call.OBSCURED)


def check_steps(steps: Sequence[Step], now: Effective, reading: PlateReading, profile: AssayProfile) -> None:
    """CorrectionError where one of these cannot be said of the run as it stands."""
    if not 1 <= len(steps) <= MOST_STEPS:
        raise CorrectionError(f"{len(steps)} corrections at once (expected 1 to {MOST_STEPS})")
    if now.voided:
        raise CorrectionError("the run is void, for ever (expected one that is not)")
    targets = [step.target for step in steps]
    for step in steps:
        if targets.count(step.target) > 1:
            raise CorrectionError(f"two corrections of {step.target or 'the run'} at once (expected one)")
        _check_reason(step)
        if step.action is Action.INTERPRET:
            raise CorrectionError("interpret is no correction (expected one of the run's wells, rows or itself)")
        if step.action in _OF_A_WELL:
            _check_well(step, now, reading, profile)
        else:
            _check_row(step, now, profile)


def _check_reason(step: Step) -> None:
    known = REASONS[step.action]
    if step.reason_code not in known:
        raise CorrectionError(f"reason {step.reason_code!r} for {step.action} (expected {' or '.join(known)})")
    if step.reason_code == "other" and not (step.reason or "").strip():
        raise CorrectionError(f"no text for the reason 'other' of {step.action} (expected what it is)")


def _check_well(step: Step, now: Effective, reading: PlateReading, profile: AssayProfile) -> None:
    if step.target not in reading.wells:
        raise CorrectionError(f"well {step.target!r} (expected one of the plate's {len(reading.wells)} wells)")
    before = now.overridden.get(step.target)
    if step.action is Action.WITHDRAW:
        if before is None or step.call is not None:
            raise CorrectionError(f"nothing to withdraw at {step.target} (expected an overridden well and no call)")
        return
    if step.call not in possible_calls(profile):
        found = None if step.call is None else step.call.value
        raise CorrectionError(f"call {found!r} for {step.target} (expected {' or '.join(possible_calls(profile))})")
    if before is not None and before.call is step.call:
        raise CorrectionError(f"{step.target} is taken for {step.call.value} already (expected another call)")


def _check_row(step: Step, now: Effective, profile: AssayProfile) -> None:
    rows = [series.row for series in profile.series]
    if step.call is not None:
        raise CorrectionError(f"call {step.call.value!r} with {step.action} (expected none)")
    whole = step.action in {Action.REREAD, Action.VOID} or (step.action is Action.ACCEPT and step.target is None)
    if whole and step.target is not None:
        raise CorrectionError(f"{step.action} of {step.target!r} (expected no target: it is of the run)")
    if not whole and step.target not in rows:
        raise CorrectionError(f"row {step.target!r} (expected one of {', '.join(rows) or 'no row in this assay'})")
    withheld = step.target in now.not_reportable
    if step.action is Action.WITHHOLD and withheld:
        raise CorrectionError(f"row {step.target} is not reportable already (expected one that is)")
    if step.action is Action.REPORT and not withheld:
        raise CorrectionError(f"row {step.target} is reportable (expected one that is not)")
    if step.action is Action.REREAD and now.reread:
        raise CorrectionError("a new reading was asked for already")


class Cache(msgspec.Struct, frozen=True):
    """What `run_records` keeps of a run as it stands, so that lists need not work it out."""

    revised: dict[str, Any] | None
    worst_grade: str
    flagged: bool
    settled: bool


def cache_of(own: Mapping[str, Any], now: Effective) -> Cache:
    """`own` are the endpoints that the run was accepted with, as stored: what differs from them is `revised`."""
    differing = (revised(own, now.endpoints) or {}) | dict.fromkeys(now.not_reportable)
    plain = [msgspec.to_builtins(endpoint) for endpoint in now.endpoints.values()]
    return Cache(differing or None, worst_grade(plain), is_flagged(plain), now.settled)

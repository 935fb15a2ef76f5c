"""Is a plate valid? Its control wells and control sera against what is expected of them. Pure.

A plate that fails is never approved, and no plate is approved by itself. A control that could not be read has failed:
nobody knows what it would have shown.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from protocol.assay import AssayProfile, ControlWells
from protocol.endpoint import RowEndpoint
from protocol.messages import Well

SerumKind = Literal["positive", "negative"]


class ControlSerum(msgspec.Struct, frozen=True, kw_only=True):
    """A lot of a serum of known titre, in log₂ steps (dilutions) of its profile."""

    id: str
    name: str
    lot: str
    kind: SerumKind
    profile: str
    expected_log2: int | None
    tolerance_log2: int


class Check(msgspec.Struct, frozen=True):
    """One control: what it is, where, what was expected and found."""

    control: str
    where: str
    expected: str
    found: str
    passed: bool


class Validity(msgspec.Struct, frozen=True):
    """Every control of a plate; without any the plate's validity rests on nothing but its rows."""

    checks: tuple[Check, ...]

    @property
    def valid(self) -> bool:
        """Whether none failed."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """Those that did."""
        return tuple(check for check in self.checks if not check.passed)


def judge(
    wells: Mapping[str, Well],
    endpoints: Mapping[str, RowEndpoint],
    profile: AssayProfile,
    sera: Mapping[str, ControlSerum],
) -> Validity:
    """The controls of a plate as it stands: wells by the profile's limits, sera (by row) by their own."""
    of_wells = [_wells(control, wells) for control in profile.controls if control.expected]
    return Validity((*of_wells, *(_serum(row, serum, endpoints, profile) for row, serum in sorted(sera.items()))))


def _wells(control: ControlWells, wells: Mapping[str, Well]) -> Check:
    found = {name: wells[name].call.value if name in wells else "missing" for name in control.wells}
    wrong = {name: call for name, call in found.items() if call not in control.expected}
    said = ", ".join(f"{name} {call.replace('_', ' ')}" for name, call in wrong.items())
    where = control.wells[0] if len(control.wells) == 1 else f"{control.wells[0]} to {control.wells[-1]}"
    right = f"{len(control.wells)} of {len(control.wells)} wells as expected"
    expected = " or ".join(call.value.replace("_", " ") for call in control.expected)
    return Check(control.role.replace("_", " "), where, expected, said or right, not wrong)


def _serum(row: str, serum: ControlSerum, endpoints: Mapping[str, RowEndpoint], profile: AssayProfile) -> Check:
    endpoint = endpoints.get(row)
    k = None if endpoint is None else endpoint.reported(profile)
    title = f"{serum.kind} control serum {serum.name}, lot {serum.lot}"
    if serum.profile != profile.name:
        return Check(title, f"row {row}", f"a plate of {serum.profile}", f"one of {profile.name}", passed=False)
    lowest, highest = limits_of(serum)
    expected = f"log₂ {lowest} to {highest}" if serum.kind == "positive" else f"at most log₂ {highest}"
    found = "no result" if k is None else f"log₂ {k}"
    return Check(title, f"row {row}", expected, found, k is not None and lowest <= k <= highest)


def limits_of(serum: ControlSerum) -> tuple[int, int]:
    """The lowest and the highest endpoint that pass."""
    if serum.kind == "negative":
        return 0, serum.tolerance_log2
    assert serum.expected_log2 is not None, f"positive control serum {serum.id} without an expected titre"
    return serum.expected_log2 - serum.tolerance_log2, serum.expected_log2 + serum.tolerance_log2

"""An assay profile: what is looked for, where on the plate, and what it means. Data, not code.

Layouts differ between laboratories, so the role of every well, how it is judged, the dilution series of every sample
and the rule for its endpoint are values that can be written as JSON and checked on the way in (`protocol.soundness`).
"""

from enum import StrEnum
from typing import Final, Literal

import msgspec

from protocol.plate import PlateFormat, plate_format


class Call(StrEnum):
    """What a well was seen to be. The last two say that it was not read; they are never "negative"."""

    FLOWING = "flowing"
    BUTTON = "button"
    PARTIAL = "partial"
    DIFFUSE = "diffuse"
    EMPTY = "empty"
    GROWTH = "growth"
    WEAK_GROWTH = "weak_growth"
    CLEAR = "clear"
    POSITIVE = "positive"
    NEGATIVE = "negative"
    INDETERMINATE = "indeterminate"
    OBSCURED = "obscured"
    NOT_READ = "not_read"

    # The same hash as the string has, and ten times as fast as that of an enumeration: every well is looked up by it.
    __hash__ = str.__hash__

    @property
    def is_read(self) -> bool:
        """Whether something was seen in the well."""
        return self not in UNREAD


UNREAD: Final = frozenset({Call.OBSCURED, Call.NOT_READ})
# Seen, but saying nothing about either side of an endpoint: no cells, or between two classes.
SAYS_NOTHING: Final = frozenset({Call.EMPTY, Call.INDETERMINATE})

JudgedBy = Literal["cells", "colour", "growth"]
# What each way of judging can call a well, beside `obscured` and `not_read`.
CALLS: Final[dict[JudgedBy, frozenset[Call]]] = {
    "cells": frozenset({Call.FLOWING, Call.BUTTON, Call.PARTIAL, Call.DIFFUSE, Call.EMPTY}),
    "colour": frozenset({Call.GROWTH, Call.CLEAR, Call.POSITIVE, Call.NEGATIVE, Call.INDETERMINATE}),
    "growth": frozenset({Call.GROWTH, Call.WEAK_GROWTH, Call.CLEAR}),
}

Role = Literal[
    "sample",
    "serum_control",
    "rbc_control",
    "antigen_control",
    "positive_control",
    "negative_control",
    "growth_control",
    "sterility_control",
    "back_titration",
    "blank",
    "unused",
]

EndpointRule = Literal["last_flowing", "last_agglutinated", "unbroken", "step_fit"]
# What comes out: titres of sera, the titre of a virus, minimum inhibitory concentrations, or the calls alone.
Reports = Literal["serum_titre", "ha_titre", "mic", "calls"]


Figure = Literal["hue_degrees", "chroma", "delta_lightness", "delta_a", "delta_b", "delta_chroma", "delta_e"]


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of one figure of a well's colour; `scatter` is its standard deviation between photographs of one well.

    `hue_degrees` and `chroma` are of the colour itself, the plate's own light being white; `delta_…` are against the
    reference, the plate's blank wells or that light: `delta_chroma` is the distance in the plane of a* and b*.
    """

    figure: Figure
    scatter: float
    at_least: float | None = None
    at_most: float | None = None


class ColourClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A well is called so where every range holds. Several classes may have one call."""

    call: Call
    ranges: tuple[Range, ...]


class ColourCriteria(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a colour becomes a call: the class that holds, the better of two, or `indeterminate` where none does."""

    classes: tuple[ColourClass, ...]


class GrowthCriteria(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much growth is growth, as a share of that of the growth control over the sterility control.

    `scatter` is its standard deviation between equal wells; `least_contrast` (CIELAB) is what the growth control must
    differ by for anything to be read.
    """

    growth_from: float = 0.5
    clear_below: float = 0.2
    scatter: float = 0.06
    least_contrast: float = 4.0


class QualityLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a picture must have to be judged: docs/decisions/0010 and 0011 say how the limits were found.

    `least_contrast` is of most wells, `least_well_contrast` of each one; `least_rim` is what the rims of wells must
    show where neighbouring wells differ in colour by more than `most_colour_step`.
    """

    most_blur_pitch: float = 0.036
    most_motion_pitch: float = 0.08
    least_light: float = 0.25
    least_pitch_px: float = 24.0
    most_colour_step: float = 25.0
    least_contrast: float = 0.08
    least_well_contrast: float = 0.14
    least_rim: float | None = None


class Series(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sample's dilutions, strongest first: `row` names it, `wells` are in order of dilution.

    `concentrations` of what is diluted, one for each well, where the endpoint is a concentration; `title` says of what.
    """

    row: str
    wells: tuple[str, ...]
    concentrations: tuple[float, ...] = ()
    title: str = ""


class ControlWells(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Wells that are not a sample's dilutions, and what they are for. `expected` lists the calls that pass."""

    role: Role
    wells: tuple[str, ...]
    expected: tuple[Call, ...] = ()


class AssayProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is looked for, where, and what each well is for. `name` and `version` travel with every reading.

    `inhibited` are the calls of a series' strong side: what antibody or drug inhibits, what virus agglutinates.
    `samples` are wells that are judged one by one, without a series. `colour` and `growth` say how a well is judged
    where that is not by its cells; `limits` say which pictures may be judged. A row whose endpoint lies within one
    dilution of what is reported with a probability below `least_within_one` has no result (None: there is no limit).
    """

    name: str
    version: int
    title: str
    plate_format: int
    series: tuple[Series, ...]
    controls: tuple[ControlWells, ...] = ()
    inhibited: tuple[Call, ...] = (Call.FLOWING,)
    first_dilution: int = 2
    dilution_factor: int = 2
    low_confidence: float = 0.6
    reported_rule: EndpointRule = "last_flowing"
    positive_from_log2: int = 4
    samples: tuple[str, ...] = ()
    judged_by: JudgedBy = "cells"
    reports: Reports = "serum_titre"
    concentration_unit: str = ""
    colour: ColourCriteria | None = None
    growth: GrowthCriteria | None = None
    limits: QualityLimits = QualityLimits()
    least_within_one: float | None = None

    @property
    def format(self) -> PlateFormat:
        """The plate this profile reads."""
        return plate_format(self.plate_format)

    @property
    def dilutions(self) -> int:
        """Dilutions in the longest series: the highest endpoint that can be reported."""
        return max((len(series.wells) for series in self.series), default=0)

    @property
    def calls(self) -> tuple[Call, ...]:
        """What a well that was read may be called, in one order for every page and file."""
        possible = set(CALLS[self.judged_by])
        if self.colour is not None:
            possible = {each.call for each in self.colour.classes} | {Call.INDETERMINATE}
        return tuple(call for call in Call if call in possible)

    def series_of(self, row: str) -> Series:
        """The series of this row; KeyError where there is none."""
        found = next((series for series in self.series if series.row == row), None)
        if found is None:
            raise KeyError(f"no series {row!r} (expected one of {', '.join(series.row for series in self.series)})")
        return found

    def wells_of(self, *roles: Role) -> tuple[str, ...]:
        """The control wells of these roles."""
        return tuple(name for control in self.controls if control.role in roles for name in control.wells)

    def roles(self) -> dict[str, Role]:
        """The role of every well of the plate, in the order of the plate."""
        roles: dict[str, Role] = dict.fromkeys(self.format.names(), "unused")
        for series in self.series:
            roles.update(dict.fromkeys(series.wells, "sample"))
        roles.update(dict.fromkeys(self.samples, "sample"))
        for control in self.controls:
            roles.update(dict.fromkeys(control.wells, control.role))
        return roles

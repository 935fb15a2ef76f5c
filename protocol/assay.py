"""An assay profile: what is looked for, where on the plate, and what it means. Data, not code.

Layouts differ between laboratories, so the role of every well, the dilution series of every serum and the rule for
its endpoint are values that can be written as JSON and checked on the way in (`parse_profile`).
"""

from enum import StrEnum
from typing import Final, Literal

import msgspec

from protocol.plate import PlateFormat, parse_well, plate_format


class Call(StrEnum):
    """What a well was seen to be. The last two say that it was not read; they are never "negative"."""

    FLOWING = "flowing"
    BUTTON = "button"
    PARTIAL = "partial"
    DIFFUSE = "diffuse"
    EMPTY = "empty"
    OBSCURED = "obscured"
    NOT_READ = "not_read"

    @property
    def is_read(self) -> bool:
        """Whether something was seen in the well."""
        return self not in UNREAD


UNREAD: Final = frozenset({Call.OBSCURED, Call.NOT_READ})

Role = Literal[
    "sample",
    "serum_control",
    "rbc_control",
    "antigen_control",
    "positive_control",
    "negative_control",
    "back_titration",
    "blank",
    "unused",
]

EndpointRule = Literal["last_flowing", "step_fit"]


class Series(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One serum's two-fold dilutions, strongest first: `row` names it, `wells` are in order of dilution."""

    row: str
    wells: tuple[str, ...]


class ControlWells(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Wells that are not a sample's dilutions, and what they are for. `expected` lists the calls that pass."""

    role: Role
    wells: tuple[str, ...]
    expected: tuple[Call, ...] = ()


class AssayProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is looked for, where, and what each well is for. `name` and `version` travel with every reading."""

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

    @property
    def format(self) -> PlateFormat:
        """The plate this profile reads."""
        return plate_format(self.plate_format)

    @property
    def dilutions(self) -> int:
        """Dilutions in the longest series: the highest endpoint that can be reported."""
        return max(len(series.wells) for series in self.series)

    def roles(self) -> dict[str, Role]:
        """The role of every well of the plate, in the order of the plate."""
        roles: dict[str, Role] = dict.fromkeys(self.format.names(), "unused")
        for series in self.series:
            roles.update(dict.fromkeys(series.wells, "sample"))
        for control in self.controls:
            roles.update(dict.fromkeys(control.wells, control.role))
        return roles


def parse_profile(document: bytes | str) -> AssayProfile:
    """A profile from its JSON text; a ValueError names the field and what was expected."""
    try:
        profile = msgspec.json.decode(document, type=AssayProfile)
    except msgspec.DecodeError as error:
        raise ValueError(f"not an assay profile: {error}") from error
    check_profile(profile)
    return profile


def check_profile(profile: AssayProfile) -> None:
    """Raise ValueError unless every well named is on the plate and has one role."""
    form = profile.format
    used: set[str] = set()
    if not profile.series:
        raise ValueError(f"assay profile {profile.name!r} has no series (expected at least one)")
    for wells in (*(s.wells for s in profile.series), *(c.wells for c in profile.controls)):
        for well in wells:
            parse_well(well)
            if well not in form:
                raise ValueError(f"assay profile {profile.name!r}: {well!r} is not on a {form.wells}-well plate")
            if well in used:
                raise ValueError(f"assay profile {profile.name!r}: {well!r} has two roles (expected one)")
            used.add(well)
    if not 0 < profile.low_confidence < 1:
        raise ValueError(f"low_confidence {profile.low_confidence!r} (expected a number between 0 and 1)")

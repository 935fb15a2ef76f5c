"""Is an assay profile sound? Every mistake is named with its value and what was expected, before a plate is read.

A profile that contradicts itself would not fail when it is written but report wrong endpoints later.
"""

import itertools
import math
from collections.abc import Iterator

import msgspec

from protocol.assay import CALLS, AssayProfile, Call, ColourCriteria, GrowthCriteria, QualityLimits, Range, Series
from protocol.plate import parse_well


def parse_profile(document: bytes | str) -> AssayProfile:
    """A profile from its JSON text; a ValueError names what is wrong and what was expected."""
    try:
        profile = msgspec.json.decode(document, type=AssayProfile)
    except msgspec.DecodeError as error:
        raise ValueError(f"not an assay profile: {error}") from error
    check_profile(profile)
    return profile


def check_profile(profile: AssayProfile) -> None:
    """Raise ValueError with every mistake that is found."""
    mistakes = [
        *_wells(profile),
        *_series(profile),
        *_calls(profile),
        *_criteria(profile),
        *_limits(profile.limits),
        *_numbers(profile),
    ]
    if mistakes:
        raise ValueError(f"assay profile {profile.name!r}: {'; '.join(mistakes)}")


def _wells(profile: AssayProfile) -> Iterator[str]:
    """Every well named is on the plate and has one role."""
    form, used = profile.format, set[str]()
    lists = (*(s.wells for s in profile.series), profile.samples, *(c.wells for c in profile.controls))
    for well in itertools.chain.from_iterable(lists):
        try:
            parse_well(well)
        except ValueError as error:
            yield str(error)
            continue
        if well not in form:
            yield f"{well!r} is not on a {form.wells}-well plate"
        if well in used:
            yield f"{well!r} has two roles (expected one)"
        used.add(well)


def _series(profile: AssayProfile) -> Iterator[str]:
    if profile.reports == "calls":
        if profile.series or not profile.samples:
            yield "reports 'calls' needs samples and no series"
        return
    if not profile.series:
        yield f"no series (expected at least one, as reports is {profile.reports!r})"
    labels = [series.row for series in profile.series]
    for row in sorted({label for label in labels if labels.count(label) > 1}):
        yield f"two series are called {row!r} (expected one)"
    for series in profile.series:
        if not series.wells:
            yield f"series {series.row!r} has no wells (expected at least one)"
        yield from _concentrations(series, profile)


def _concentrations(series: Series, profile: AssayProfile) -> Iterator[str]:
    values = series.concentrations
    if profile.reports != "mic":
        if values:
            yield f"series {series.row!r} has concentrations (expected none, as reports is {profile.reports!r})"
        return
    if len(values) != len(series.wells):
        yield f"series {series.row!r} has {len(values)} concentrations for {len(series.wells)} wells"
    if not all(math.isfinite(value) and value > 0 for value in values):
        yield f"series {series.row!r} has the concentrations {values} (expected numbers above 0)"
    if any(weaker >= stronger for stronger, weaker in itertools.pairwise(values)):
        yield f"series {series.row!r} has the concentrations {values} (expected the strongest first, each once)"


def _calls(profile: AssayProfile) -> Iterator[str]:
    """Only what this way of judging can see may be counted or expected."""
    possible = CALLS[profile.judged_by]
    named: list[tuple[str, Call]] = [("inhibited", call) for call in profile.inhibited]
    named += [(f"expected of {each.role}", call) for each in profile.controls for call in each.expected]
    if profile.colour is not None:
        named += [("a colour class", each.call) for each in profile.colour.classes]
    for where, call in named:
        if call not in possible:
            yield f"{where}: {call.value!r} is never seen where wells are judged by {profile.judged_by}"
    if not profile.inhibited:
        yield "inhibited is empty (expected at least one call)"
    rules = {
        "serum_titre": ("last_flowing", "step_fit"),
        "ha_titre": ("last_agglutinated", "step_fit"),
        "mic": ("unbroken", "step_fit"),
    }.get(profile.reports)
    if rules and profile.reported_rule not in rules:
        yield f"reported_rule {profile.reported_rule!r} (expected {' or '.join(rules)} for {profile.reports})"
    if profile.reports == "serum_titre" and profile.judged_by != "cells":
        yield f"serum titres judged by {profile.judged_by} (expected by cells)"


def _criteria(profile: AssayProfile) -> Iterator[str]:
    for name, criteria in (("colour", profile.colour), ("growth", profile.growth)):
        if (criteria is not None) != (profile.judged_by == name):
            found = "no criteria" if criteria is None else "criteria"
            yield f"{name}: {found} in a profile that is judged by {profile.judged_by}"
    if profile.colour is not None:
        yield from _colour(profile.colour)
    if profile.growth is not None:
        yield from _growth(profile.growth)
        for role in ("growth_control", "sterility_control"):
            if role not in profile.roles().values():
                yield f"growth is judged against a {role}, and no well has that role"


def _colour(criteria: ColourCriteria) -> Iterator[str]:
    if len({each.call for each in criteria.classes}) < 2:
        yield "colour: expected classes for at least two calls"
    for each in criteria.classes:
        if each.call is Call.INDETERMINATE:
            yield "colour: 'indeterminate' is what no class holds (expected no class for it)"
        if not each.ranges:
            yield f"colour: a class {each.call.value!r} without ranges (expected at least one)"
        for limits in each.ranges:
            yield from (f"colour, {each.call.value}: {mistake}" for mistake in _range(limits))


def _range(limits: Range) -> Iterator[str]:
    if limits.at_least is None and limits.at_most is None:
        yield f"{limits.figure} has no limit (expected at_least, at_most or both)"
    if limits.at_least is not None and limits.at_most is not None and limits.at_least >= limits.at_most:
        yield f"{limits.figure} at_least {limits.at_least} (expected below at_most {limits.at_most})"
    if not limits.scatter > 0:
        yield f"{limits.figure} has a scatter of {limits.scatter} (expected above 0)"


def _growth(criteria: GrowthCriteria) -> Iterator[str]:
    if not 0 < criteria.clear_below < criteria.growth_from < 1:
        yield (
            f"growth: clear_below {criteria.clear_below}, growth_from {criteria.growth_from} "
            "(expected 0 < clear_below < growth_from < 1)"
        )
    if not (criteria.scatter > 0 and criteria.least_contrast > 0):
        yield f"growth: scatter {criteria.scatter}, least_contrast {criteria.least_contrast} (expected above 0)"


def _limits(limits: QualityLimits) -> Iterator[str]:
    for name in QualityLimits.__struct_fields__:
        value = getattr(limits, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            yield f"limits: {name} {value!r} (expected a number of at least 0)"


def _numbers(profile: AssayProfile) -> Iterator[str]:
    if not 0 < profile.low_confidence < 1:
        yield f"low_confidence {profile.low_confidence!r} (expected a number between 0 and 1)"
    least = profile.least_within_one
    if least is not None and not 0 < least < 1:
        yield f"least_within_one {least!r} (expected a number between 0 and 1)"
    if least is not None and profile.reports not in {"serum_titre", "ha_titre"}:
        yield f"least_within_one {least!r} with reports {profile.reports!r} (expected none: only titres have it)"
    if profile.first_dilution < 1:
        yield f"first_dilution {profile.first_dilution!r} (expected at least 1)"
    if profile.dilution_factor < 2:
        yield f"dilution_factor {profile.dilution_factor!r} (expected at least 2)"
    if (profile.reports == "mic") != bool(profile.concentration_unit):
        yield f"concentration_unit {profile.concentration_unit!r} with reports {profile.reports!r}"

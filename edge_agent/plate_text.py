"""A plate as lines of text: a letter per well, the endpoints beside the rows, what is flagged below. Pure."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from protocol.assay import AssayProfile, Call, Reports
from protocol.endpoint import RowEndpoint, result_text
from protocol.messages import Colour, PlateSeen, Well
from protocol.plate import Seat, plate_format

# A call as one letter; the annotated picture uses the same ones.
LETTERS: Final[dict[Call, str]] = {
    Call.FLOWING: "F",
    Call.BUTTON: "B",
    Call.PARTIAL: "P",
    Call.DIFFUSE: "D",
    Call.EMPTY: "E",
    Call.GROWTH: "G",
    Call.WEAK_GROWTH: "W",
    Call.CLEAR: "C",
    Call.POSITIVE: "+",
    Call.NEGATIVE: "o",
    Call.INDETERMINATE: "I",
    Call.OBSCURED: "?",
    Call.NOT_READ: "·",
}
# Over the endpoints of a row: both rules, then the result in the assay's words.
_HEADS: Final[dict[Reports, str]] = {
    "serum_titre": "   last  fit  titre    grade   flags",
    "ha_titre": "   last  fit  titre    grade   flags",
    "mic": "   last  fit  MIC               grade   flags",
    "calls": "",
}
_WIDTHS: Final[dict[Reports, int]] = {"serum_titre": 8, "ha_titre": 8, "mic": 17, "calls": 0}


def plate_text(
    photo: str,
    plate: PlateSeen,
    wells: Mapping[str, Well],
    endpoints: Mapping[str, RowEndpoint],
    profile: AssayProfile,
) -> str:
    """The plate for people, ending with an empty line."""
    form = plate_format(plate.format)
    width = len(str(form.columns)) + 1
    head = "   " + "".join(f"{column:>{width}}" for column in range(1, form.columns + 1))
    lines = [_title(photo, plate), "", head + (_HEADS[profile.reports] if endpoints else "")]
    for row in form.row_labels():
        letters = "".join(f"{LETTERS[wells[name].call]:>{width}}" for name in form.row(row))
        beside = _endpoint_text(row, endpoints[row], profile) if row in endpoints else ""
        lines.append(f"{row:>3}{letters}{beside}".rstrip())
    if plate.a1_from == "unknown":
        lines += ["", "Wells are named as if A1 were at the top left of the picture, so there are no endpoints."]
    flagged = [f"{name} {', '.join(well.flags)}" for name, well in wells.items() if well.flags]
    lines += ["", *_counts(wells, profile), f"flagged: {'; '.join(flagged) or 'none'}", legend(profile), "", ""]
    return "\n".join(lines)


def legend(profile: AssayProfile) -> str:
    """What the letters of this assay's calls mean."""
    shown = (*profile.calls, Call.OBSCURED, Call.NOT_READ)
    return " · ".join(f"{LETTERS[call]} {call.value.replace('_', ' ')}" for call in shown)


def _counts(wells: Mapping[str, Well], profile: AssayProfile) -> list[str]:
    """How many wells have each call, where no endpoints say it shorter, and what colours were compared with."""
    if profile.reports != "calls":
        return []
    found = Counter(well.call for well in wells.values())
    counted = ", ".join(f"{found[call]} {call.value.replace('_', ' ')}" for call in Call if found[call])
    references = {well.colour.reference for well in wells.values() if isinstance(well.colour, Colour)}
    against = " and ".join(sorted(reference.replace("_", " ") for reference in references))
    return [counted, *([f"colours compared with the {against}"] if against else [])]


def _title(photo: str, plate: PlateSeen) -> str:
    corner = Seat(plate.rotation_degrees).label.replace("-", " ")
    where = "nobody said where A1 is" if plate.a1_from == "unknown" else f"A1 at the {corner}, as its seat says"
    return f"{photo}: {plate.wells_seen} of {plate.format} wells seen, {where}"


def _endpoint_text(row: str, endpoint: RowEndpoint, profile: AssayProfile) -> str:
    result, first = result_text(row, endpoint.reported(profile), profile), endpoint.first_rule(profile)
    last = "–" if first is None else first
    fit = "–" if endpoint.step_fit is None else endpoint.step_fit
    title = profile.series_of(row).title
    said = ", ".join((*([title] if title else []), *endpoint.flags))
    return f"   {last:>4}  {fit:>3}  {result:<{_WIDTHS[profile.reports]}} {endpoint.grade:<7} {said}"

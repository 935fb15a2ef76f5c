"""A plate as lines of text: a letter per well, the endpoints beside the rows, what is flagged below. Pure."""

from collections.abc import Mapping
from typing import Final

from protocol.assay import AssayProfile, Call
from protocol.endpoint import RowEndpoint, titre_text
from protocol.messages import PlateSeen, Well
from protocol.plate import Seat, plate_format

# A call as one letter; the annotated picture uses the same ones.
LETTERS: Final[dict[Call, str]] = {
    Call.FLOWING: "F",
    Call.BUTTON: "B",
    Call.PARTIAL: "P",
    Call.DIFFUSE: "D",
    Call.EMPTY: "E",
    Call.OBSCURED: "?",
    Call.NOT_READ: "·",
}
LEGEND: Final = "F flowing · B button · P partial · D diffuse · E empty · ? obscured · · not read"


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
    lines = [_title(photo, plate), "", head + ("   last  fit  titre    grade   flags" if endpoints else "")]
    for row in form.row_labels():
        letters = "".join(f"{LETTERS[wells[name].call]:>{width}}" for name in form.row(row))
        beside = _endpoint_text(endpoints[row], profile) if row in endpoints else ""
        lines.append(f"{row:>3}{letters}{beside}".rstrip())
    if plate.a1_from == "unknown":
        lines += ["", "Wells are named as if A1 were at the top left of the picture, so there are no endpoints."]
    flagged = [f"{name} {', '.join(well.flags)}" for name, well in wells.items() if well.flags]
    lines += ["", f"flagged: {'; '.join(flagged) or 'none'}", LEGEND, "", ""]
    return "\n".join(lines)


def _title(photo: str, plate: PlateSeen) -> str:
    corner = Seat(plate.rotation_degrees).label.replace("-", " ")
    where = "nobody said where A1 is" if plate.a1_from == "unknown" else f"A1 at the {corner}, as its seat says"
    return f"{photo}: {plate.wells_seen} of {plate.format} wells seen, {where}"


def _endpoint_text(endpoint: RowEndpoint, profile: AssayProfile) -> str:
    reported = endpoint.reported(profile)
    titre = "not read" if reported is None else titre_text(reported, profile)
    last = "–" if endpoint.last_flowing is None else endpoint.last_flowing
    fit = "–" if endpoint.step_fit is None else endpoint.step_fit
    return f"   {last:>4}  {fit:>3}  {titre:<8} {endpoint.grade:<7} {', '.join(endpoint.flags)}"

"""The forms of plates, on the page of their submission: register, say where one is and what is in it, void."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, post

from central.api.plans import PlatePath, TestPath
from central.api.plates import register_plate
from central.dashboard.fields import FORM, Revision, Short, Text, WhyForm
from central.dashboard.submission_forms import check_name, do_on_page, voiding
from central.laboratory import editing
from central.laboratory.worklist import Placed
from central.parts import CentralRequest, Wired, actor_of, person_of
from central.people.permissions import OPERATORS, REVIEWERS


class PlateForm(msgspec.Struct, frozen=True):
    """A new plate, or a change of one; `rows` is a line for each: `A F-17`, or `A` alone to empty it."""

    back: Short
    plate_number: Short = ""
    revision: Revision = 1
    location: Short = ""
    rows: Text = ""
    reason: Text = ""


@post("/tests/{test_id:str}/plates", access=OPERATORS, include_in_schema=False)
async def post_plate_form(
    request: CentralRequest, parts: Wired, test_id: TestPath, data: Annotated[PlateForm, FORM]
) -> Response[Any]:
    """Register a plate."""

    async def doing() -> None:
        check_name("plate", data.plate_number)
        await register_plate(
            request,
            parts,
            test_id,
            number=data.plate_number.strip(),
            location=editing.checked("plate", {"location": data.location})["location"],
            rows=_rows(data.rows),
        )

    return await do_on_page(request, parts, *_back(data.back), doing)


@post("/plates/{plate_id:str}/change", access=OPERATORS, include_in_schema=False)
async def post_plate_change_form(
    request: CentralRequest, parts: Wired, plate_id: PlatePath, data: Annotated[PlateForm, FORM]
) -> Response[Any]:
    """Say where a plate is, and what is in its rows."""

    async def doing() -> None:
        common: dict[str, Any] = {
            "sites": person_of(request).sites,
            "actor": actor_of(request),
            "now": parts.now(),
            "reason": data.reason or None,
        }
        values = editing.checked("plate", {"location": data.location})
        seen = await editing.change(parts.engine, "plate", plate_id, values, seen=data.revision, **common)
        rows = _rows(data.rows)
        if rows:
            await editing.place(parts.engine, plate_id, rows, seen=seen, **common)

    return await do_on_page(request, parts, *_back(data.back), doing)


@post("/plates/{plate_id:str}/void", access=REVIEWERS, include_in_schema=False)
async def post_plate_void_form(
    request: CentralRequest, parts: Wired, plate_id: PlatePath, data: Annotated[WhyForm, FORM]
) -> Response[Any]:
    """Void a plate."""
    return await do_on_page(request, parts, *_back(data.back), voiding(request, parts, "plate", plate_id, data))


def _back(text: str) -> tuple[str, str | None]:
    """(submission, site) that a form says it was on: `S-1@main`."""
    name, _, site = text.rpartition("@")
    return name, site or None


def _rows(text: str) -> dict[str, Placed | None]:
    """`A F-17` in a line each; `A` alone empties the row."""
    found: dict[str, Placed | None] = {}
    for line in text.splitlines():
        row, _, serum = line.strip().partition(" ")
        if row:
            found[row.upper()[:8]] = Placed(serum=serum.strip()) if serum.strip() else None
    return found


HANDLERS: Final = (
    post_plate_form,
    post_plate_change_form,
    post_plate_void_form,
)

"""`/api/v1/tests` and `/api/v1/plates`: what is done on a submission, on which plates, and what is in their rows."""

from typing import Annotated

import msgspec
from litestar import Response, get, patch, post, put
from litestar.params import JSONBody

from central.api.overviews import PlateOut, plate_out
from central.api.paths import SubmissionPath, from_segment, missing
from central.api.plans import (
    FieldsOfTest,
    LabName,
    PlatePath,
    Reason,
    RevisionOut,
    SiteChoice,
    TestPath,
    Text200,
    VoidIn,
    given,
    refusals,
)
from central.api.submissions import the_one
from central.db import one_moment, reading
from central.laboratory import editing, importing
from central.laboratory.comparing import ConflictError
from central.laboratory.fields import value_of
from central.laboratory.queries import find_plate, get_plate, planned
from central.laboratory.worklist import Placed, PlatePlan
from central.parts import CentralRequest, Parts, Wired, actor_of, caller_sites
from central.people.permissions import OPERATORS, REVIEWERS, VIEWERS
from central.people.sites import Sites
from central.results.queries import submission_runs
from central.web.problems import ProblemError
from central.web.revisions import revision_tag, seen_revision

_TEST_FIELDS = ("profile", "antigen", "antigen_lot", "hau")


class RowIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is in a row: a serum of the submission, or a lot of a control serum."""

    serum: LabName | None = None
    control: LabName | None = None
    control_lot: LabName | None = None


Rows = Annotated[
    dict[Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{1,2}$(?!\n)")], RowIn | None], msgspec.Meta(max_length=32)
]


class TestIn(FieldsOfTest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A new test of a submission."""

    test: LabName


class TestChange(FieldsOfTest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to change of a test."""

    reason: Reason | None = None


class PlateIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new plate of a test, with what is in its rows where that is known."""

    plate_number: LabName
    location: Text200 | None = None
    rows: Rows = {}


class PlateChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a plate is now; null: nobody knows."""

    location: Text200 | None
    reason: Reason | None = None


class SeraIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What these rows hold; null: nothing. Rows that are not named stay."""

    rows: Rows
    reason: Reason | None = None


class PlateDetailOut(msgspec.Struct, frozen=True, kw_only=True):
    """A plate, and what it is part of."""

    site_id: str
    submission: str
    test: str
    profile: str | None
    plate: PlateOut


@post(
    "/submissions/{submission:str}/tests",
    access=OPERATORS.with_key("samples:write"),
    summary="Register a test",
    description="409 where the submission has one of this name.",
)
async def post_test(
    request: CentralRequest, parts: Wired, submission: SubmissionPath, data: JSONBody[TestIn], site: SiteChoice = None
) -> Response[RevisionOut]:
    """A new test."""
    row = await the_one(parts, caller_sites(request), from_segment(submission), site)
    with refusals():
        test_id = await register_test(
            request, parts, row.site_id, row.submission, name=data.test, fields=given(data, *_TEST_FIELDS)
        )
    return Response(RevisionOut(test_id, 1), headers={"etag": revision_tag(1)})


async def register_test(
    request: CentralRequest, parts: Parts, site: str, submission: str, *, name: str, fields: dict[str, object]
) -> str:
    """The id of a test that was just made; ConflictError where the submission has one of this name."""
    if name in (await the_one(parts, Sites.of([site]), submission)).tests:
        raise ConflictError(f"test {name!r} is registered already (expected another name)")
    filled = {field: value for field, value in fields.items() if value is not None}
    wanted = importing.one(submission, test=name, test_fields=filled)  # type: ignore[arg-type]
    await importing.put(parts.engine, site, wanted, actor=actor_of(request), origin=origin_of(request), now=parts.now())
    async with one_moment(parts.engine) as connection:
        plan = await planned(connection, await the_one(parts, Sites.of([site]), submission))
    return next(test.id for test in plan.tests if test.test == name)


def origin_of(request: CentralRequest) -> str:
    """How a submission came here, where it is made by this request."""
    return "by hand" if actor_of(request).kind == "person" else "api"


@patch(
    "/tests/{test_id:str}",
    access=OPERATORS.with_key("samples:write"),
    summary="Change a test",
    description="With `If-Match`: 428 without, 412 with what changed where it is at another revision.",
)
async def patch_test(
    request: CentralRequest, parts: Wired, test_id: TestPath, data: JSONBody[TestChange]
) -> Response[RevisionOut]:
    """Change what is known of a test."""
    return await _changed(request, parts, "test", test_id, values=given(data, *_TEST_FIELDS), reason=data.reason)


@post(
    "/tests/{test_id:str}/void",
    access=REVIEWERS,
    status_code=200,
    summary="Void a test",
    description="Every plate of it, for ever. With `If-Match`.",
)
async def post_test_void(
    request: CentralRequest, parts: Wired, test_id: TestPath, data: JSONBody[VoidIn]
) -> Response[RevisionOut]:
    """Void a test."""
    return await _voided(request, parts, "test", test_id, data.reason)


@post(
    "/tests/{test_id:str}/plates",
    access=OPERATORS.with_key("samples:write"),
    summary="Register a plate",
    description="Runs that waited for its code are its own from then on. 409 where the test has one of this number.",
)
async def post_plate(
    request: CentralRequest, parts: Wired, test_id: TestPath, data: JSONBody[PlateIn]
) -> Response[RevisionOut]:
    """A new plate."""
    with refusals():
        plate_id = await register_plate(
            request, parts, test_id, number=data.plate_number, location=data.location, rows=_placed(data.rows)
        )
    return Response(RevisionOut(plate_id, 1), headers={"etag": revision_tag(1)})


async def register_plate(
    request: CentralRequest,
    parts: Parts,
    test_id: str,
    *,
    number: str,
    location: str | None,
    rows: dict[str, Placed | None],
) -> str:
    """The id of a plate that was just made; ConflictError where the test has one of this number."""
    sites = caller_sites(request)
    async with reading(parts.engine) as connection:
        code = await editing.code_of(connection, sites, test_id)
        if await find_plate(connection, *code, number) is not None:
            raise ConflictError(f"plate {number!r} is registered already (expected another number)")
    site, submission, test = code
    fields = {} if location is None else {"location": value_of("location", location)}
    plate = PlatePlan(number, 1, fields, {row: placed for row, placed in rows.items() if placed is not None})
    wanted = importing.one(submission, test=test, plates_=[plate])
    await importing.put(parts.engine, site, wanted, actor=actor_of(request), origin=origin_of(request), now=parts.now())
    async with reading(parts.engine) as connection:
        found = await find_plate(connection, *code, number)
    assert found is not None, f"plate {number!r} was just made"
    return found


@get("/plates/{plate_id:str}", access=VIEWERS.with_key("results:read"), summary="One plate")
async def get_one_plate(request: CentralRequest, parts: Wired, plate_id: PlatePath) -> Response[PlateDetailOut]:
    """A plate with its rows, what was read in them, and where it is."""
    async with one_moment(parts.engine) as connection:
        found = await get_plate(connection, caller_sites(request), plate_id)
        if found is None:
            raise missing("plate", plate_id)
        runs = await submission_runs(connection, found.submission, found.test, sites=Sites.of([found.site_id]))
    current = next((run for run in runs if run.plate_id == plate_id and run.current), None)
    detail = PlateDetailOut(
        site_id=found.site_id,
        submission=found.submission,
        test=found.test,
        profile=found.profile,
        plate=plate_out(found.plate, current),
    )
    return Response(detail, headers={"etag": revision_tag(found.plate.revision)})


@patch(
    "/plates/{plate_id:str}",
    access=OPERATORS.with_key("samples:write"),
    summary="Say where a plate is",
    description="With `If-Match`: 428 without, 412 with what changed where it is at another revision.",
)
async def patch_plate(
    request: CentralRequest, parts: Wired, plate_id: PlatePath, data: JSONBody[PlateChange]
) -> Response[RevisionOut]:
    """Move a plate to another place."""
    return await _changed(request, parts, "plate", plate_id, values={"location": data.location}, reason=data.reason)


@put(
    "/plates/{plate_id:str}/sera",
    access=OPERATORS.with_key("samples:write"),
    summary="Say what is in a plate's rows",
    description="With `If-Match`. Not where the plate was approved: its sera stand.",
)
async def put_sera(
    request: CentralRequest, parts: Wired, plate_id: PlatePath, data: JSONBody[SeraIn]
) -> Response[RevisionOut]:
    """Place sera and controls."""
    seen = seen_revision(request)
    with refusals():
        revision = await editing.place(
            parts.engine,
            plate_id,
            _placed(data.rows),
            seen=seen,
            sites=caller_sites(request),
            actor=actor_of(request),
            now=parts.now(),
            reason=data.reason,
        )
    return Response(RevisionOut(plate_id, revision), headers={"etag": revision_tag(revision)})


@post(
    "/plates/{plate_id:str}/void",
    access=REVIEWERS,
    status_code=200,
    summary="Void a plate",
    description="For ever: its runs count nowhere. With `If-Match`.",
)
async def post_plate_void(
    request: CentralRequest, parts: Wired, plate_id: PlatePath, data: JSONBody[VoidIn]
) -> Response[RevisionOut]:
    """Void a plate."""
    return await _voided(request, parts, "plate", plate_id, data.reason)


async def _changed(
    request: CentralRequest, parts: Parts, kind: str, object_id: str, *, values: dict[str, object], reason: str | None
) -> Response[RevisionOut]:
    seen = seen_revision(request)
    with refusals():
        revision = await editing.change(
            parts.engine,
            kind,
            object_id,
            values,
            seen=seen,
            sites=caller_sites(request),
            actor=actor_of(request),
            now=parts.now(),
            reason=reason,
        )
    return Response(RevisionOut(object_id, revision), headers={"etag": revision_tag(revision)})


async def _voided(
    request: CentralRequest, parts: Parts, kind: str, object_id: str, reason: str
) -> Response[RevisionOut]:
    seen = seen_revision(request)
    with refusals():
        revision = await editing.void(
            parts.engine,
            kind,
            object_id,
            seen=seen,
            sites=caller_sites(request),
            actor=actor_of(request),
            now=parts.now(),
            reason=reason,
        )
    return Response(RevisionOut(object_id, revision), headers={"etag": revision_tag(revision)})


def _placed(rows: dict[str, RowIn | None]) -> dict[str, Placed | None]:
    found: dict[str, Placed | None] = {}
    for row, holds in rows.items():
        try:
            value_of("row", row)
        except ValueError as error:
            raise ProblemError(422, f"row {row!r} (expected {error})") from error
        if holds is None:
            found[row] = None
        elif (holds.serum is None) == (holds.control is None) or (holds.control is None) != (holds.control_lot is None):
            raise ProblemError(422, f"row {row} (expected serum, or control with control_lot)")
        else:
            found[row] = Placed(holds.serum, holds.control, holds.control_lot)
    return found


HANDLERS = [
    post_test,
    patch_test,
    post_test_void,
    post_plate,
    get_one_plate,
    patch_plate,
    put_sera,
    post_plate_void,
]

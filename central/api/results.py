"""`/api/v1/runs/{id}/wells`, `/titres`, `/files`: what a laboratory system reads of one run.

What has no result is no item of any list, and `left_out` names it: a well that was not read, a row without an endpoint
or that a reviewer set "not reportable". It is never blank, zero or negative.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import get

from central.api.paths import RunPath, missing
from central.db import one_moment
from central.deliveries.collect import collect
from central.deliveries.results import CALL_CODES, PlateResult, Reviewed, RowResult, Status, WellResult
from central.parts import CentralRequest, Parts, Wired, caller_sites
from central.people.permissions import VIEWERS
from central.people.sites import Sites
from central.results.lists import FileListed, files_of_plate
from central.results.queries import get_image
from central.review.dossier import Dossier, get_dossier
from central.web.problems import ProblemError
from protocol.assay import Call, Role
from protocol.endpoint import Grade, result_text, titre_text
from protocol.plate import parse_well


class WellOut(msgspec.Struct, frozen=True, kw_only=True):
    """One well that was read, as it stands. `status` says what may be done with it; only `final` was signed for."""

    well: Annotated[str, msgspec.Meta(examples=["A1"])]
    row: Annotated[str, msgspec.Meta(examples=["A"])]
    column: Annotated[int, msgspec.Meta(examples=[1])]
    role: Role
    sample_id: str | None
    call: Call
    call_code: Annotated[int, msgspec.Meta(description="The call as a number that is never given to another.")]
    call_source: Literal["model", "reviewer"]
    confidence: float
    flags: tuple[str, ...]
    status: Status
    reviewed: Reviewed | None


class WellsOut(msgspec.Struct, frozen=True, kw_only=True):
    """The wells of a run that were read, in the order of the plate; `left_out` those that were not."""

    run_id: str
    revision: int
    items: tuple[WellOut, ...]
    left_out: tuple[str, ...]


class TitreOut(msgspec.Struct, frozen=True, kw_only=True):
    """One serum that has a result. `endpoint` counts dilutions; assays that report no titre say it in `result`."""

    run_id: str
    revision: int
    submission: Annotated[str, msgspec.Meta(examples=["S-1"])]
    test: Annotated[str, msgspec.Meta(examples=["NDV"])]
    plate_number: Annotated[str, msgspec.Meta(examples=["1"])]
    row: Annotated[str, msgspec.Meta(examples=["A"])]
    serum: str | None
    endpoint: int
    titre: Annotated[str | None, msgspec.Meta(description="`1:64`, `<1:2` or `≥1:4096`.", examples=["1:64"])]
    result: Annotated[str, msgspec.Meta(examples=["1:64"])]
    grade: Grade
    flags: tuple[str, ...]
    status: Literal["final", "preliminary", "corrected", "invalid"]


class RunTitresOut(msgspec.Struct, frozen=True, kw_only=True):
    """The titres of a run by row. `current`: it speaks for its plate. A voided run says nothing."""

    run_id: str
    revision: int
    current: bool
    voided: bool
    items: tuple[TitreOut, ...]
    left_out: tuple[str, ...]


class FileOut(msgspec.Struct, frozen=True, kw_only=True):
    """A picture, or a file that was made for somebody. `url` is null where there is no picture (yet, or any more)."""

    kind: Literal["picture", "delivery"]
    url: str | None
    name: str
    media_type: str | None
    sha256: str
    of: Literal["run", "plate", "test", "submission"]
    state: Annotated[
        str,
        msgspec.Meta(
            description="`stored`, `missing` (not here yet), `removed` (kept no longer); of a delivery its state."
        ),
    ]
    supersedes_id: str | None
    created_at: datetime | None


class FilesOut(msgspec.Struct, frozen=True):
    """The picture of a run, then what was made of it, the newest first."""

    items: tuple[FileOut, ...]


@get(
    "/runs/{run_id:str}/wells",
    access=VIEWERS.with_key("results:read"),
    summary="A run's wells",
    description="As they stand after review. Wells that were not read are not among them. 409: nobody knows its plate.",
)
async def get_run_wells(request: CentralRequest, parts: Wired, run_id: RunPath) -> WellsOut:
    """The wells of a run."""
    _, plate = await _run(parts, caller_sites(request), run_id)
    return WellsOut(
        run_id=run_id,
        revision=plate.revision,
        items=tuple(_well_out(plate, well) for well in plate.wells if well.call.is_read),
        left_out=tuple(well.well for well in plate.wells if not well.call.is_read),
    )


@get(
    "/runs/{run_id:str}/titres",
    access=VIEWERS.with_key("results:read"),
    summary="A run's titres",
    description="Rows without a result are not among them. 409: nobody knows its plate.",
)
async def get_run_titres(request: CentralRequest, parts: Wired, run_id: RunPath) -> RunTitresOut:
    """The titres of a run."""
    dossier, plate = await _run(parts, caller_sites(request), run_id)
    items, left_out = titres_of([] if dossier.run.voided else [plate])
    return RunTitresOut(
        run_id=run_id,
        revision=plate.revision,
        current=dossier.run.current,
        voided=dossier.run.voided,
        items=items,
        left_out=left_out,
    )


@get(
    "/runs/{run_id:str}/files",
    access=VIEWERS.with_key("results:read"),
    summary="A run's files",
    description="Its picture, and the files that were made of its plate, test and submission.",
)
async def get_run_files(request: CentralRequest, parts: Wired, run_id: RunPath) -> FilesOut:
    """What there is to fetch of a run."""
    sites = caller_sites(request)
    async with one_moment(parts.engine) as connection:
        found = await get_dossier(connection, run_id, sites)
        if found is None:
            raise missing("run", run_id)
        run = found.run
        picture = await get_image(connection, run.image_sha256) if run.image_stored else None
        made = () if run.plate_id is None else await files_of_plate(connection, sites, run.plate_id)
    shown = FileOut(
        kind="picture",
        url=None if picture is None else f"/api/v1/images/{run.image_sha256}",
        name=run.image_sha256,
        media_type=None if picture is None else picture.media_type,
        sha256=run.image_sha256,
        of="run",
        state="removed" if run.image_removed_at is not None else "missing" if picture is None else "stored",
        supersedes_id=None,
        created_at=None if picture is None else picture.stored_at,
    )
    return FilesOut((shown, *(_file_out(each) for each in made)))


async def _run(parts: Parts, sites: Sites, run_id: str) -> tuple[Dossier, PlateResult]:
    """A run and its results; 409 while nobody knows which plate it is of."""
    async with one_moment(parts.engine) as connection:
        dossier = await get_dossier(connection, run_id, sites)
        if dossier is None:
            raise missing("run", run_id)
        if dossier.run.plate_id is None:
            raise ProblemError(409, f"run {run_id} is of no plate yet (expected one that was matched)")
        (plate,) = (await collect(connection, [dossier], None, at=parts.now(), revision=1)).plates
    return dossier, plate


def _well_out(plate: PlateResult, well: WellResult) -> WellOut:
    _, column = parse_well(well.well)
    return WellOut(
        well=well.well,
        row=well.well.rstrip("0123456789"),
        column=column,
        role=well.role,
        sample_id=well.sample_id,
        call=well.call,
        call_code=CALL_CODES[well.call],
        call_source="model" if well.reviewed is None else "reviewer",
        confidence=well.confidence,
        flags=well.flags,
        status=plate.status_of(well),
        reviewed=well.reviewed,
    )


def titres_of(plates: Sequence[PlateResult]) -> tuple[tuple[TitreOut, ...], tuple[str, ...]]:
    """(those that have a result, the names of those that have none)."""
    items, left_out = [], []
    for plate in plates:
        for row in plate.rows:
            if row.endpoint is None:
                left_out.append(f"{plate.test} plate {plate.plate_number} row {row.row}")
            else:
                items.append(_titre_out(plate, row, row.endpoint))
    return tuple(items), tuple(left_out)


def _titre_out(plate: PlateResult, row: RowResult, endpoint: int) -> TitreOut:
    return TitreOut(
        run_id=plate.run_id,
        revision=plate.revision,
        submission=plate.submission,
        test=plate.test,
        plate_number=plate.plate_number,
        row=row.row,
        serum=row.serum_id,
        endpoint=endpoint,
        titre=titre_text(endpoint, plate.assay) if plate.assay.reports == "serum_titre" else None,
        result=result_text(row.row, endpoint, plate.assay),
        grade=row.grade,
        flags=row.flags,
        status=plate.status,
    )


def _file_out(made: FileListed) -> FileOut:
    return FileOut(
        kind="delivery",
        url=f"/api/v1/deliveries/{made.id}/file",
        name=made.name,
        media_type=made.media_type,
        sha256=made.content_sha256,
        of=made.subject_kind,  # type: ignore[arg-type]
        state=made.state,
        supersedes_id=made.supersedes_id,
        created_at=made.created_at,
    )


HANDLERS = (
    get_run_wells,
    get_run_titres,
    get_run_files,
)

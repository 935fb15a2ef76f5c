"""`/api/v1/runs`: readings that central accepted, newest first, and each with every well."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, get

from central.api.paths import After, DeviceFilter, Limit, RunPath, SubmissionFilter, TestFilter, missing, with_query
from central.db import reading
from central.parts import CentralRequest, Wired, caller_sites
from central.people.permissions import VIEWERS
from central.results.aggregate import Run
from central.results.queries import RunDetail, get_run, list_runs
from central.web.etags import matches
from protocol.assay import AssayProfile
from protocol.endpoint import Grade, RowEndpoint, RowFlag, result_text, titre_text
from protocol.messages import Clock, ModelUsed, Picture, PlateCode, PlateSeen, Well


class EndpointOut(msgspec.Struct, frozen=True, omit_defaults=True):
    """One serum: both rules in dilutions, and what the profile reports of them; null where nothing could be read.

    In assays that report no titre of a serum, `by_rule` stands for `last_flowing`, and `result` says it in words.
    """

    last_flowing: int | None
    step_fit: int | None
    margin_ln: float | None
    grade: Grade
    flags: tuple[RowFlag, ...]
    reported: int | None
    titre: Annotated[str | None, msgspec.Meta(description="`1:64`, `<1:2` or `≥1:4096`.", examples=["1:64"])]
    by_rule: int | None = None
    result: Annotated[str | None, msgspec.Meta(description="`MIC 0.125 mg/L`.", examples=["MIC 0.125 mg/L"])] = None


class RunOut(msgspec.Struct, frozen=True, kw_only=True):
    """One run without its wells. `current`: it speaks for its plate, no later reading of the plate replaced it."""

    id: str
    number: int
    url: str
    submission: Annotated[str | None, msgspec.Meta(description="Null: the plate's code is unknown.", examples=["S-1"])]
    test: Annotated[str | None, msgspec.Meta(examples=["NDV"])]
    plate_number: Annotated[str | None, msgspec.Meta(examples=["1"])]
    device_id: Annotated[str, msgspec.Meta(examples=["bench-1"])]
    device_name: str
    captured_at: Annotated[datetime, msgspec.Meta(description="By the device's clock.")]
    captured_at_corrected: Annotated[
        datetime | None, msgspec.Meta(description="By central's clock; null where it knows nothing of that boot.")
    ]
    received_at: datetime
    historical: bool
    current: bool
    profile: str
    profile_version: int
    plate_format: int
    model: str
    image_sha256: str
    image_url: str | None
    image_removed_at: Annotated[
        datetime | None, msgspec.Meta(description="Since then its laboratory keeps the picture no longer.")
    ]
    endpoints: Annotated[dict[str, EndpointOut], msgspec.Meta(description="Those that count, after review.")]
    revision: Annotated[int, msgspec.Meta(description="Grows with everything that a person says of the run.")]
    assay_version: Annotated[int, msgspec.Meta(description="Of the profile that the endpoints are worked out by.")]
    not_reportable: Annotated[tuple[str, ...], msgspec.Meta(description="Rows that a reviewer left out.")]
    control_rows: Annotated[tuple[str, ...], msgspec.Meta(description="Rows that hold control sera.")]
    voided: Annotated[bool, msgspec.Meta(description="It counts nowhere.")]
    accepted_at: datetime | None
    approved_at: datetime | None


class RunDetailOut(RunOut, frozen=True, kw_only=True):
    """One run with every well's call, and what it was made with."""

    wells: dict[str, Well]
    code: PlateCode | None
    plate: PlateSeen
    quality: dict[str, float]
    model_used: ModelUsed
    picture: Picture
    clock: Clock
    agent: str
    epoch: str
    seq: int
    digest: str


class RunsOut(msgspec.Struct, frozen=True):
    """A page of runs; `next` is the address of the following one, null at the end (also as a `Link` header)."""

    items: tuple[RunOut, ...]
    next: str | None


@get(
    "/runs",
    access=VIEWERS.with_key("results:read"),
    summary="List runs",
    description="Newest first. Follow `next` (or the `Link` header) for older ones.",
)
async def get_runs(
    *,
    request: CentralRequest,
    parts: Wired,
    after: After = None,
    limit: Limit = 50,
    submission: SubmissionFilter = None,
    test: TestFilter = None,
    device: DeviceFilter = None,
) -> Response[RunsOut]:
    """A page of runs."""
    async with reading(parts.engine) as connection:
        page = await list_runs(
            connection,
            after=after,
            limit=limit,
            submission=submission,
            test=test,
            device=device,
            sites=caller_sites(request),
        )
    following = None
    if page.next_after is not None:
        following = with_query(
            "/api/v1/runs", after=page.next_after, limit=limit, submission=submission, test=test, device=device
        )
    links = {"link": f'<{following}>; rel="next"'} if following else {}
    return Response(RunsOut(tuple(run_out(run) for run in page.runs), following), headers=links)


@get(
    "/runs/{run_id:str}",
    access=VIEWERS.with_key("results:read"),
    summary="One run",
    description="With every well. The strong ETag changes when the run does.",
)
async def get_one_run(request: CentralRequest, parts: Wired, run_id: RunPath) -> Response[RunDetailOut | None]:
    """One run, or 304 where the caller has it."""
    async with reading(parts.engine) as connection:
        found = await get_run(connection, run_id, sites=caller_sites(request))
    if found is None:
        raise missing("run", run_id)
    etag = etag_of(found)
    headers = {"etag": etag, "cache-control": "private, no-cache"}
    if matches(request.headers.get("if-none-match", ""), etag):
        return Response(None, status_code=304, headers=headers)  # before its wells are written out
    return Response(run_detail_out(found), headers=headers)


def etag_of(detail: RunDetail) -> str:
    """The reading never changes; what the laboratory makes of it, its picture and when it was taken may."""
    run = detail.run
    at = run.captured_at_corrected
    return f'"{run.id}-{run.revision}-{run.current:d}{run.image_stored:d}-{"" if at is None else at.timestamp()}"'


def run_out(run: Run) -> RunOut:
    """A run as the API shows it."""
    return RunOut(**_common(run))


def run_detail_out(detail: RunDetail) -> RunDetailOut:
    """A run with its wells as the API shows it."""
    made = detail.reading
    return RunDetailOut(
        **_common(detail.run),
        wells=made.wells,
        code=made.code,
        plate=made.plate,
        quality=made.quality,
        model_used=made.model,
        picture=made.picture,
        clock=made.clock,
        agent=made.agent,
        epoch=detail.run.epoch,
        seq=detail.run.seq,
        digest=detail.digest,
    )


def _common(run: Run) -> dict[str, Any]:
    values = {name: getattr(run, name) for name in RunOut.__struct_fields__ if hasattr(run, name)}
    return values | {
        "url": f"/api/v1/runs/{run.id}",
        "image_url": f"/api/v1/images/{run.image_sha256}" if run.image_stored else None,
        "endpoints": endpoints_out(run),
        "assay_version": run.assay.version,
    }


def endpoints_out(run: Run) -> dict[str, EndpointOut]:
    """Every serum of a run with the titre that its profile reports."""
    found = {}
    for row, endpoint, profile in in_order(run):
        k = endpoint.reported(profile)
        found[row] = EndpointOut(
            last_flowing=endpoint.last_flowing,
            step_fit=endpoint.step_fit,
            margin_ln=endpoint.margin_ln,
            grade=endpoint.grade,
            flags=endpoint.flags,
            reported=k,
            titre=None if k is None or profile.reports == "mic" else titre_text(k, profile),
            by_rule=endpoint.by_rule,
            result=None if profile.reports == "serum_titre" else result_text(row, k, profile),
        )
    return found


def in_order(run: Run) -> Iterator[tuple[str, RowEndpoint, AssayProfile]]:
    """(row, endpoint, profile) in the order of the plate: a database may keep the keys of JSON in another one."""
    for series in run.assay.series:
        if series.row in run.endpoints:
            yield series.row, run.endpoints[series.row], run.assay

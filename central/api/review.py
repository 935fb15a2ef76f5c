"""`/api/v1/review` and what is said of a run: the queue, corrections, signatures.

A change names the revision that was seen (`If-Match`): one of two reviewers who work at once is told what the other
said.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, get, post
from litestar.params import JSONBody, PathParameter, QueryParameter

from central.api.dossiers import ReviewOut, answer, in_words, review_out
from central.api.paths import After, DeviceFilter, Limit, RunPath, missing, with_query
from central.api.people import address_of
from central.api.runs import RunOut, run_out
from central.db import one_moment, reading
from central.parts import CentralRequest, Parts, Wired, actor_of, caller_sites, person_of
from central.people.auth import reauthenticate
from central.people.callers import NotSignedInError
from central.people.permissions import REVIEWERS, VIEWERS
from central.review import changes, signing
from central.review.approval import Meaning
from central.review.changes import StaleError, UnknownRunError
from central.review.corrections import REASONS, Action, CorrectionError, Step
from central.review.dossier import Dossier, get_dossier, names_of
from central.review.queue import Filters, QueuePage, list_queue
from central.review.signing import NotApprovableError
from central.web.problems import FieldError, ProblemError
from central.web.revisions import seen_revision, stale
from protocol.assay import Call

_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$"
_TEXT = msgspec.Meta(max_length=1000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$(?!\n)")

SiteFilter = Annotated[str | None, QueryParameter(pattern=_NAME, description="Only this site.")]
ProfileFilter = Annotated[str | None, QueryParameter(pattern=_NAME, description="Only runs of this profile.")]
AssigneeFilter = Annotated[
    str | None, QueryParameter(pattern=r"^[0-9a-f-]{36}$", description="Only submissions that this person has.")
]
TestPath = Annotated[str, PathParameter(pattern=r"^[0-9a-f-]{36}$", description="Id of the test.")]


class CorrectionIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing to say of a run; `GET /api/v1/review/reasons` lists the reasons of each action."""

    action: Literal["override", "withdraw", "accept", "withhold", "report", "reread", "void"]
    target: Annotated[str, msgspec.Meta(max_length=8, examples=["A6"])] | None = None
    call: Call | None = None
    reason_code: Annotated[str, msgspec.Meta(max_length=32, examples=["misread"])] = ""
    reason: Annotated[str, _TEXT] | None = None


class CorrectionsIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Said together: they make one revision, all or none."""

    corrections: Annotated[tuple[CorrectionIn, ...], msgspec.Meta(min_length=1, max_length=400)]


class InterpretationIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The version of its profile that a run's titres are to be worked out by."""

    version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class SignatureIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signature: the password again, the one-time code of who has one, and what is meant by it."""

    meaning: Meaning
    password: Annotated[str, msgspec.Meta(max_length=256)]
    code: Annotated[str, msgspec.Meta(max_length=16)] | None = None


class TestSignatureIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The approval of every plate of a test: each run that counts, with the revision that was seen."""

    revisions: Annotated[
        dict[
            Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f-]{36}$(?!\n)")],
            Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)],
        ],
        msgspec.Meta(min_length=1, max_length=200),
    ]
    password: Annotated[str, msgspec.Meta(max_length=256)]
    code: Annotated[str, msgspec.Meta(max_length=16)] | None = None


class QueueOut(msgspec.Struct, frozen=True):
    """Runs that wait for a reviewer, oldest first; `next` is the address of the following page."""

    items: tuple[RunOut, ...]
    next: str | None


@get("/review/queue", access=VIEWERS, summary="Runs that wait for a reviewer", description="Oldest first.")
async def get_queue(
    *,
    request: CentralRequest,
    parts: Wired,
    after: After = None,
    limit: Limit = 50,
    site: SiteFilter = None,
    device: DeviceFilter = None,
    profile: ProfileFilter = None,
    assignee: AssigneeFilter = None,
) -> Response[QueueOut]:
    """A page of the queue."""
    filters = Filters(site=site, device=device, profile=profile, assignee=assignee)
    async with reading(parts.engine) as connection:
        page = await list_queue(connection, caller_sites(request), filters, after=after, limit=limit)
    following = next_page("/api/v1/review/queue", page, filters, limit=limit)
    links = {"link": f'<{following}>; rel="next"'} if following else {}
    return Response(QueueOut(tuple(run_out(run) for run in page.runs), following), headers=links)


def next_page(path: str, page: QueuePage, filters: Filters, **more: object) -> str | None:
    """The address of the page after this one."""
    if page.next_after is None:
        return None
    return with_query(path, after=page.next_after, **more, **msgspec.structs.asdict(filters))


@get("/review/reasons", access=VIEWERS, summary="Reasons that a correction may have, by action")
async def get_reasons() -> dict[str, dict[str, str]]:
    """Reason codes with their words."""
    return {action.value: dict(reasons) for action, reasons in REASONS.items() if action is not Action.INTERPRET}


@get("/runs/{run_id:str}/review", access=VIEWERS, summary="A run as it stands, and all that was said of it")
async def get_review(request: CentralRequest, parts: Wired, run_id: RunPath) -> Response[ReviewOut]:
    """One run's review; the ETag is its revision."""
    async with one_moment(parts.engine) as connection:
        found = await get_dossier(connection, run_id, caller_sites(request))
    if found is None:
        raise missing("run", run_id)
    return await answer(request, parts, found)


@post(
    "/runs/{run_id:str}/corrections",
    access=REVIEWERS,
    status_code=200,
    summary="Say something of a run",
    description="Needs `If-Match` with the revision that was seen; 412 says what was said since. 409: it cannot be.",
)
async def post_corrections(
    request: CentralRequest, parts: Wired, run_id: RunPath, data: JSONBody[CorrectionsIn]
) -> Response[ReviewOut]:
    """Corrections of a run, and the run as it then stands."""
    steps = [
        Step(Action(each.action), each.target, each.call, each.reason_code, each.reason) for each in data.corrections
    ]
    found = await said(request, parts, run_id, steps, seen_revision(request))
    return await answer(request, parts, found)


@post(
    "/runs/{run_id:str}/interpretation",
    access=REVIEWERS,
    status_code=200,
    summary="Work out a run's titres by another version of its profile",
    description="Needs `If-Match`. A run that was signed keeps its version.",
)
async def post_interpretation(
    request: CentralRequest, parts: Wired, run_id: RunPath, data: JSONBody[InterpretationIn]
) -> Response[ReviewOut]:
    """The run by that version."""
    return await answer(request, parts, await interpreted(request, parts, run_id, data.version, seen_revision(request)))


@post(
    "/runs/{run_id:str}/signatures",
    access=REVIEWERS,
    status_code=201,
    summary="Sign a run",
    description="Password (and code) again; needs `If-Match`. 409 says what stands against an approval.",
)
async def post_signature(
    request: CentralRequest, parts: Wired, run_id: RunPath, data: JSONBody[SignatureIn]
) -> Response[ReviewOut]:
    """A signature of the run as it was seen."""
    seen = {run_id: seen_revision(request)}
    (found,) = await signed(request, parts, seen, meaning=data.meaning, password=data.password, code=data.code)
    return await answer(request, parts, found, status=201)


@post(
    "/tests/{test_id:str}/signatures",
    access=REVIEWERS,
    status_code=201,
    summary="Approve every plate of a test",
    description="All or none. `revisions` names each run that counts with the revision that was seen.",
)
async def post_test_signature(
    request: CentralRequest, parts: Wired, test_id: TestPath, data: JSONBody[TestSignatureIn]
) -> tuple[ReviewOut, ...]:
    """Approval of all plates at once."""
    found = await signed(
        request, parts, data.revisions, meaning="approved", password=data.password, code=data.code, test_id=test_id
    )
    return tuple([await review_out(parts, each, person_of(request).id) for each in found])


async def said(request: CentralRequest, parts: Parts, run_id: str, steps: list[Step], seen: int) -> Dossier:
    """Say it; what goes wrong as a problem."""
    try:
        return await changes.correct(parts.engine, run_id, steps, seen=seen, **by(request, parts))
    except (StaleError, UnknownRunError, CorrectionError) as error:
        raise await refusal(parts, error) from error


async def interpreted(request: CentralRequest, parts: Parts, run_id: str, version: int, seen: int) -> Dossier:
    """Interpret it by that version; what goes wrong as a problem."""
    try:
        return await changes.interpret(parts.engine, run_id, version, seen=seen, **by(request, parts))
    except (StaleError, UnknownRunError, CorrectionError, LookupError) as error:
        raise await refusal(parts, error) from error


async def signed(
    request: CentralRequest,
    parts: Parts,
    seen: dict[str, int],
    *,
    meaning: Meaning,
    password: str,
    code: str | None,
    test_id: str | None = None,
) -> tuple[Dossier, ...]:
    """Prove who it is, then sign; what goes wrong as a problem."""
    try:
        proved = await reauthenticate(
            parts.people, person_of(request), password=password, code=code or None, address=address_of(request)
        )
    except NotSignedInError as error:
        raise ProblemError(403, f"nothing was signed: {error}") from error
    try:
        return await signing.sign(parts.engine, seen, meaning, proved=proved, test_id=test_id, **by(request, parts))
    except (StaleError, UnknownRunError, NotApprovableError) as error:
        raise await refusal(parts, error) from error


def by(request: CentralRequest, parts: Parts) -> dict[str, Any]:
    """Who does it, whose things he sees, and when."""
    person = person_of(request)
    return {"sites": person.sites, "user_id": person.id, "actor": actor_of(request), "now": parts.now()}


async def refusal(parts: Parts, error: Exception) -> ProblemError:
    """404, 412 with what was said since, or 409 with why."""
    match error:
        case UnknownRunError():
            return missing("run or test", str(error))
        case StaleError():
            async with reading(parts.engine) as connection:
                names = await names_of(connection, (each.user_id for each in error.since))
            changed = [FieldError(f"/corrections/{each.revision}", in_words(each, names)) for each in error.since]
            return stale(str(error), error.dossier.run.revision, changed)
        case NotApprovableError():
            why = [FieldError(f"/{of}", reason) for of, reasons in error.reasons.items() for reason in reasons]
            return ProblemError(409, f"not approved: {error}", errors=why)
        case _:
            return ProblemError(409, str(error.args[0]))


HANDLERS = (
    get_queue,
    get_reasons,
    get_review,
    post_corrections,
    post_interpretation,
    post_signature,
    post_test_signature,
)

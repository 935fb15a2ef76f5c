"""What the API answers of a run under review: corrections, signatures, what stands against approving it."""

from datetime import datetime

import msgspec
from litestar import Response

from central.api.runs import EndpointOut, endpoints_out
from central.db import reading
from central.laboratory.states import PlateState
from central.parts import CentralRequest, Parts, person_of
from central.review.approval import Meaning
from central.review.corrections import Action, Correction
from central.review.dossier import Dossier, names_of
from central.web.revisions import revision_tag
from protocol.assay import Call


class CorrectionOut(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was said. `call` is the reviewer's, `machine_call` the reader's, which stays."""

    revision: int
    action: Action
    target: str | None
    call: Call | None
    machine_call: Call | None
    reason_code: str
    reason: str | None
    at: datetime
    user_id: str
    user_name: str | None


class SignatureOut(msgspec.Struct, frozen=True, kw_only=True):
    """Who stood for a run, as of a revision; `holds`: it is of the run as it stands."""

    id: str
    revision: int
    meaning: Meaning
    user_id: str
    user_name: str | None
    at: datetime
    proved: str
    record_sha256: str
    holds: bool


class CheckOut(msgspec.Struct, frozen=True):
    """One control: what was expected of it, and found."""

    control: str
    where: str
    expected: str
    found: str
    passed: bool


class ReviewOut(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it stands. `valid`: its controls passed; `against` says what stands against the caller's approval."""

    run_id: str
    revision: int
    plate_state: PlateState | None
    test_id: str | None
    valid: bool
    checks: tuple[CheckOut, ...]
    endpoints: dict[str, EndpointOut]
    not_reportable: tuple[str, ...]
    open_rows: tuple[str, ...]
    settled: bool
    reread: bool
    voided: bool
    overridden: dict[str, Call]
    record_sha256: str
    corrections: tuple[CorrectionOut, ...]
    signatures: tuple[SignatureOut, ...]
    against: tuple[str, ...]


def in_words(each: Correction, names: dict[str, str]) -> str:
    """One correction as people read it: `override A6: flowing → button (misread), by rita`."""
    call = "" if each.call is None else f": {each.machine_call} → {each.call}"
    why = each.reason_code if each.reason is None else f"{each.reason_code}: {each.reason}"
    return f"{each.action} {each.target or 'run'}{call} ({why}), by {names.get(each.user_id, each.user_id)}"


async def answer(request: CentralRequest, parts: Parts, found: Dossier, *, status: int = 200) -> Response[ReviewOut]:
    """A run's review with its revision as ETag."""
    out = await review_out(parts, found, person_of(request).id)
    headers = {"etag": revision_tag(found.run.revision), "cache-control": "private, no-cache"}
    return Response(out, status_code=status, headers=headers)


async def review_out(parts: Parts, found: Dossier, caller_id: str) -> ReviewOut:
    """A run's review as the API shows it."""
    ids = [each.user_id for each in found.corrections] + [each.user_id for each in found.signatures]
    async with reading(parts.engine) as connection:
        names = await names_of(connection, ids)
    return ReviewOut(
        run_id=found.run.id,
        revision=found.run.revision,
        plate_state=found.state,
        test_id=found.test_id,
        valid=found.validity.valid,
        checks=tuple(CheckOut(**msgspec.structs.asdict(check)) for check in found.validity.checks),
        endpoints=endpoints_out(found.run),
        not_reportable=found.now.not_reportable,
        open_rows=found.now.open_rows,
        settled=found.now.settled,
        reread=found.now.reread,
        voided=found.now.voided,
        overridden={well: each.call for well, each in found.now.overridden.items() if each.call is not None},
        record_sha256=found.sha256,
        corrections=tuple(_correction_out(each, names) for each in found.corrections),
        signatures=tuple(
            SignatureOut(**msgspec.structs.asdict(each), user_name=names.get(each.user_id), holds=found.holds(each))
            for each in found.signatures
        ),
        against=found.why_not(caller_id),
    )


def _correction_out(each: Correction, names: dict[str, str]) -> CorrectionOut:
    values = {name: value for name, value in msgspec.structs.asdict(each).items() if name != "number"}
    return CorrectionOut(**values, user_name=names.get(each.user_id))

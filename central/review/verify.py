"""Does everything that is stored follow from calls and corrections? Worked out anew, and every difference named.

What is believed are the readings' documents (their digests are checked), the corrections and the signatures; what is
checked is everything else that central says of a run: its endpoints, what lists show, whether it counts, the states of
plates, summaries, and what each signature is over. Nothing is changed.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.db import one_moment
from central.laboratory.states import PlateState
from central.results.aggregate import Run, mark_current, summarise
from central.results.queries import runs_of, select_runs
from central.review.approval import Signature, record_sha256, signature_holds
from central.review.corrections import OVERRIDDEN, Action, Correction, Effective, cache_of, effective
from central.review.dossier import corrections_of, signatures_of
from central.tables import plates, run_records, runs, submissions, tests
from protocol.codec import decode_reading, decompress, digest
from protocol.endpoint import seen_endpoints
from protocol.errors import RemoteProtocolError
from protocol.messages import PlateReading
from protocol.profiles import profile_named

_AT_ONCE: Final = 200
# A plate here has a run that speaks for it; elsewhere it may have none.
_NEEDS_A_RUN: Final = {PlateState.READ, PlateState.IN_REVIEW, PlateState.APPROVED, PlateState.DELIVERED}
_HAS_NO_RUN: Final = {PlateState.REGISTERED, PlateState.PLATED}
_SIGNED: Final = {PlateState.APPROVED, PlateState.DELIVERED}


class Difference(msgspec.Struct, frozen=True):
    """What is stored of a thing, and what follows from calls and corrections."""

    kind: str
    id: str
    field: str
    stored: str
    computed: str


class Verified(msgspec.Struct, frozen=True):
    """How much was worked out anew, and every difference."""

    runs: int
    corrections: int
    signatures: int
    submissions: int
    differences: tuple[Difference, ...]


class _Checked(msgspec.Struct, frozen=True):
    """One run as it follows from its document and what was said of it; None where its document cannot be read."""

    run: Run | None
    approved: bool
    differences: tuple[Difference, ...]


async def verify(engine: AsyncEngine) -> Verified:
    """Work out everything of one moment."""
    async with one_moment(engine) as connection:
        counted = {"runs": 0, "corrections": 0, "signatures": 0, "submissions": 0}
        found: list[Difference] = []
        async for name, some in _by_submission(connection):
            counted["submissions"] += name is not None
            counted["runs"] += len(some)
            checked = await _check_runs(connection, some, counted)
            found += [each for run in checked for each in run.differences]
            if name is not None:
                found += await _check_submission(connection, name, some, checked)
        found += await _without_record(connection)
    return Verified(**counted, differences=tuple(found))


async def summary_runs(connection: AsyncConnection, submission_id: str) -> tuple[Run, ...]:
    """The runs of a submission as they follow from their calls and corrections, with `current` set."""
    some = await runs_of(connection, select_runs().where(submissions.c.id == submission_id))
    counted = {"corrections": 0, "signatures": 0}
    checked = await _check_runs(connection, some, counted)
    return mark_current([each.run for each in checked if each.run is not None])


async def _by_submission(connection: AsyncConnection) -> AsyncIterator[tuple[Any, list[Run]]]:
    """Each submission with its runs; then, under None, the runs whose plate nobody knows, some at a time."""
    for row in (
        await connection.execute(select(submissions.c.id, submissions.c.name).order_by(submissions.c.id))
    ).all():
        found = await runs_of(connection, select_runs().where(submissions.c.id == row.id).order_by(runs.c.number))
        yield row, list(mark_current(found))
    last = 0
    while True:
        waiting = select_runs().where(run_records.c.plate_id.is_(None), runs.c.number > last)
        some = await runs_of(connection, waiting.order_by(runs.c.number).limit(_AT_ONCE))
        if not some:
            return
        yield None, some
        last = some[-1].number


async def _check_runs(connection: AsyncConnection, some: Sequence[Run], counted: dict[str, int]) -> list[_Checked]:
    found = []
    for start in range(0, len(some), _AT_ONCE):
        part = some[start : start + _AT_ONCE]
        ids = [run.id for run in part]
        said, signed = await corrections_of(connection, ids), await signatures_of(connection, ids)
        query = select(runs, *(run_records.c[name].label(f"record_{name}") for name in _RECORD))
        query = query.join(run_records, run_records.c.run_id == runs.c.id).where(runs.c.id.in_(ids))
        rows = {row.id: row for row in await connection.execute(query)}
        counted["corrections"] += sum(len(each) for each in said.values())
        counted["signatures"] += sum(len(each) for each in signed.values())
        found += [_check_run(run, rows[run.id], said.get(run.id, ()), signed.get(run.id, ())) for run in part]
    return found


_RECORD: Final = ("revision", "revised", "worst_grade", "flagged", "accepted_at", "approved_at", "voided_at")


def _check_run(run: Run, row: Row[Any], said: tuple[Correction, ...], signed: tuple[Signature, ...]) -> _Checked:
    try:
        document = decompress(row.document)
        reading = decode_reading(document)
    except RemoteProtocolError as error:
        return _Checked(None, False, (Difference("run", run.id, "document", "unreadable", str(error)),))
    now = effective(reading, said, run.assay)
    approved = any(
        each.meaning == "approved"
        and signature_holds(each, run.revision, record_sha256(run, row.digest, run.revision, said, now))
        for each in signed
    )
    pairs = [*_of_run(row, digest(document), reading), *_of_record(row, said, now, approved=approved)]
    pairs += [*_of_corrections(row, reading, said), *_of_signatures(run, row, reading, said, signed)]
    differences = tuple(
        Difference("run", run.id, field, _text(stored), _text(computed))
        for field, stored, computed in pairs
        if _canonical(stored) != _canonical(computed)
    )
    plain = {"endpoints": now.endpoints, "not_reportable": now.not_reportable}
    return _Checked(
        msgspec.structs.replace(run, **plain, voided=now.voided or _plate_void(run, row)), approved, differences
    )


def _plate_void(run: Run, row: Row[Any]) -> bool:
    return run.voided and row.record_voided_at is None


def _of_run(row: Row[Any], sha256: str, reading: PlateReading) -> Iterator[tuple[str, Any, Any]]:
    """(field, stored, computed) of what never changes."""
    yield "digest", row.digest, sha256
    yield "id", row.id, reading.id
    yield "profile", (row.profile, row.profile_version), (reading.profile, reading.profile_version)
    code = reading.code
    named = (None, None, None) if code is None else (code.submission, code.test, code.plate_number)
    yield "code", (row.submission, row.test, row.plate_number), named
    own = profile_named(reading.profile, reading.profile_version)
    yield "endpoints", row.endpoints, msgspec.to_builtins(seen_endpoints(reading.plate, reading.wells, own))


def _of_record(
    row: Row[Any], said: tuple[Correction, ...], now: Effective, *, approved: bool
) -> Iterator[tuple[str, Any, Any]]:
    """(field, stored, computed) of what lists show."""
    cache = cache_of(row.endpoints, now)
    yield "revised", row.record_revised, cache.revised
    yield "worst_grade", row.record_worst_grade, cache.worst_grade
    yield "flagged", bool(row.record_flagged), cache.flagged
    yield "accepted", row.record_accepted_at is not None, bool(said) and cache.settled
    yield "approved", row.record_approved_at is not None, approved
    yield "voided", row.record_voided_at is not None, now.voided
    newest = max((each.revision for each in said), default=1)
    yield "revision", row.record_revision, max(row.record_revision, newest)


def _of_corrections(
    row: Row[Any], reading: PlateReading, said: tuple[Correction, ...]
) -> Iterator[tuple[str, Any, Any]]:
    """The machine's call beside each override is the one in the document."""
    for each in said:
        if each.action in {Action.OVERRIDE, Action.WITHDRAW}:
            well = reading.wells.get(each.target or "")
            yield f"machine_call of correction {each.number}", each.machine_call, None if well is None else well.call
    if any(OVERRIDDEN in well.flags for well in reading.wells.values()):
        yield f"flags of {row.id}", OVERRIDDEN, "none of a reading's own"


def _of_signatures(
    run: Run,
    row: Row[Any],
    reading: PlateReading,
    said: tuple[Correction, ...],
    signed: tuple[Signature, ...],
) -> Iterator[tuple[str, Any, Any]]:
    """What each signature is over: the run as it was at its revision."""
    for each in signed:
        then = tuple(correction for correction in said if correction.revision <= each.revision)
        as_it_was = effective(reading, then, run.assay)
        computed = record_sha256(run, row.digest, each.revision, then, as_it_was)
        yield f"signature {each.id}", each.record_sha256, computed


async def _check_submission(
    connection: AsyncConnection, submission: Row[Any], stored: Sequence[Run], checked: Sequence[_Checked]
) -> list[Difference]:
    """Which runs speak, where the plates are, and the summaries of the submission and its tests."""
    computed = mark_current([each.run for each in checked if each.run is not None])
    found = []
    current = {run.plate_id: run.id for run in computed if run.current}
    shown = {run.plate_id: run.id for run in stored if run.current}
    found += [
        Difference("plate", str(plate), "current run", _text(shown.get(plate)), _text(current.get(plate)))
        for plate in {**shown, **current}
        if shown.get(plate) != current.get(plate)
    ]
    approved = {each.run.id for each in checked if each.run is not None and each.approved}
    query = select(plates.c.id, plates.c.state).join(tests, tests.c.id == plates.c.test_id)
    for row in await connection.execute(query.where(tests.c.submission_id == submission.id)):
        wrong = _wrong_state(PlateState(row.state), current.get(row.id), approved)
        if wrong is not None:
            found.append(Difference("plate", row.id, "state", row.state, wrong))
    for test in (None, *sorted({run.test for run in stored if run.test is not None})):
        old, new = summarise(submission.name, test, stored), summarise(submission.name, test, computed)
        if old != new:
            found.append(Difference("submission", submission.id, f"summary of {test or 'all'}", _text(old), _text(new)))
    return found


def _wrong_state(state: PlateState, run_id: str | None, approved: set[str]) -> str | None:
    """What a plate's state should be instead, in words; None where it may be what it is."""
    if state in _NEEDS_A_RUN and run_id is None:
        return "one without a run"
    if state in _HAS_NO_RUN and run_id is not None:
        return "one with a run"
    if state in _SIGNED and run_id not in approved:
        return "one that nobody approved as it stands"
    return None


async def _without_record(connection: AsyncConnection) -> list[Difference]:
    query = select(runs.c.id).outerjoin(run_records, run_records.c.run_id == runs.c.id)
    missing = await connection.scalars(query.where(run_records.c.run_id.is_(None)))
    return [Difference("run", run_id, "record", "none", "one") for run_id in missing]


def _canonical(value: Any) -> bytes:
    """As it would be stored: a tuple and a list are one thing there."""
    return msgspec.json.encode(msgspec.to_builtins(value, str_keys=True), order="sorted")


def _text(value: Any) -> str:
    return _canonical(value).decode()[:2000]

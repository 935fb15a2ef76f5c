"""What would change if runs were interpreted by another version of their profile: stored runs worked out by it.

Nothing is changed: it is asked before a version is activated.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from central.people.sites import EVERY_SITE, Sites
from central.results.aggregate import Run
from central.results.queries import runs_of, select_runs
from central.review.corrections import Correction, effective
from central.review.dossier import corrections_of
from central.tables import run_records, runs, submissions
from protocol.assay import AssayProfile
from protocol.codec import decode_reading, decompress
from protocol.endpoint import RowEndpoint, result_text
from protocol.messages import PlateReading

MOST_RUNS: Final = 2000
_AT_ONCE: Final = 200


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """One row whose result, grade or flags would be others."""

    run_id: str
    submission: str | None
    test: str | None
    plate_number: str | None
    row: str
    before: str
    after: str
    grade_before: str
    grade_after: str
    signed: bool

    @property
    def titre(self) -> bool:
        """Whether the result itself would be another one."""
        return self.before != self.after


class Trial(msgspec.Struct, frozen=True):
    """What would change over so many runs and rows; `titres` counts rows whose result would be another one."""

    runs: int
    rows: int
    titres: int
    grades: int
    changed: tuple[Changed, ...]


def compare(run: Run, reading: PlateReading, corrections: Iterable[Correction], profile: AssayProfile) -> list[Changed]:
    """The rows of one run that would change: as it stands, against the same by this profile."""
    then = effective(reading, corrections, profile)
    labels = dict.fromkeys([*(s.row for s in run.assay.series), *(s.row for s in profile.series)])
    found = []
    for row in labels:
        old, new = run.endpoints.get(row), then.endpoints.get(row)
        texts = _text(row, old, run.assay), _text(row, new, profile)
        grades = "–" if old is None else old.grade, "–" if new is None else new.grade
        if texts[0] != texts[1] or grades[0] != grades[1]:
            found.append(
                Changed(
                    run_id=run.id,
                    submission=run.submission,
                    test=run.test,
                    plate_number=run.plate_number,
                    row=row,
                    before=texts[0],
                    after=texts[1],
                    grade_before=grades[0],
                    grade_after=grades[1],
                    signed=run.approved_at is not None,
                )
            )
    return found


def _text(row: str, endpoint: RowEndpoint | None, profile: AssayProfile) -> str:
    if endpoint is None:
        return "no result"
    return result_text(row, endpoint.reported(profile), profile)


async def try_profile(
    connection: AsyncConnection,
    profile: AssayProfile,
    *,
    sites: Sites = EVERY_SITE,
    last: int = MOST_RUNS,
    submission: str | None = None,
) -> Trial:
    """A profile on the last runs of its name, or on those of a submission; voided ones are left out."""
    query = (
        select(runs.c.id)
        .join(run_records, run_records.c.run_id == runs.c.id)
        .where(runs.c.profile == profile.name, run_records.c.voided_at.is_(None), sites.having(run_records.c.site_id))
        .order_by(runs.c.number.desc())
        .limit(min(last, MOST_RUNS))
    )
    if submission is not None:
        query = select_runs(sites).with_only_columns(runs.c.id).where(
            runs.c.profile == profile.name, run_records.c.voided_at.is_(None), submissions.c.name == submission
        ).order_by(runs.c.number.desc()).limit(min(last, MOST_RUNS))  # fmt: skip
    ids: Sequence[str] = (await connection.scalars(query)).all()
    changed: list[Changed] = []
    rows = 0
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        found = await runs_of(connection, select_runs(sites).where(runs.c.id.in_(some)).order_by(runs.c.number.desc()))
        said = await corrections_of(connection, some)
        stored = await connection.execute(select(runs.c.id, runs.c.document).where(runs.c.id.in_(some)))
        documents = {row.id: row.document for row in stored}
        for run in found:
            reading = decode_reading(decompress(documents[run.id]))
            changed += compare(run, reading, said.get(run.id, ()), profile)
            rows += len(run.endpoints)
    titres = sum(each.titre for each in changed)
    grades = sum(each.grade_before != each.grade_after for each in changed)
    return Trial(len(ids), rows, titres, grades, tuple(changed))

"""Everything of one run that a reviewer needs, read at one moment: reading, corrections, controls, signatures."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from central.assays.controls import ControlSerum, Validity, judge
from central.laboratory.states import PlateState
from central.people.sites import EVERY_SITE, Sites
from central.results.aggregate import Run
from central.results.queries import get_run
from central.review.approval import Meaning, Signature, in_words, record_sha256, signature_holds, why_not
from central.review.corrections import Action, Correction, Effective, effective
from central.tables import control_sera, corrections, placements, plates, runs, signatures, sites, users
from protocol.assay import Call
from protocol.messages import PlateReading


class Dossier(msgspec.Struct, frozen=True, kw_only=True):
    """One run with all that was said of it. `own` are the endpoints that it was accepted with, as stored."""

    run: Run
    reading: PlateReading
    digest: str
    own: dict[str, Any]
    corrections: tuple[Correction, ...]
    now: Effective
    validity: Validity
    signatures: tuple[Signature, ...]
    test_id: str | None
    state: PlateState | None
    four_eyes: bool

    @property
    def sha256(self) -> str:
        """What a signature of the run as it stands is over."""
        return record_sha256(self.run, self.digest, self.run.revision, self.corrections, self.now)

    @property
    def failed(self) -> tuple[str, ...]:
        """The controls that are not as they should be, in words."""
        return in_words(self.validity)

    def why_not(self, approver_id: str) -> tuple[str, ...]:
        """What stands against this person's approval."""
        said = {each.user_id for each in self.corrections}
        return why_not(
            self.run,
            self.state,
            self.now,
            self.validity,
            approver_id=approver_id,
            reviewers=said,
            four_eyes=self.four_eyes,
        )

    def holds(self, signature: Signature) -> bool:
        """Whether a signature is of the run as it stands."""
        return signature_holds(signature, self.run.revision, self.sha256)


async def get_dossier(connection: AsyncConnection, run_id: str, sites_seen: Sites = EVERY_SITE) -> Dossier | None:
    """All of one run, None where it is not here."""
    detail = await get_run(connection, run_id, sites=sites_seen)
    if detail is None:
        return None
    run, made = detail.run, detail.reading
    said = (await corrections_of(connection, [run_id])).get(run_id, ())
    now = effective(made, said, run.assay)
    controls = {} if run.plate_id is None else await control_sera_of(connection, run.plate_id)
    where = await _plate(connection, run.plate_id)
    return Dossier(
        run=run,
        reading=made,
        digest=detail.digest,
        own=await connection.scalar(select(runs.c.endpoints).where(runs.c.id == run_id)) or {},
        corrections=said,
        now=now,
        validity=judge(now.wells, now.endpoints, run.assay, controls),
        signatures=(await signatures_of(connection, [run_id])).get(run_id, ()),
        test_id=None if where is None else where.test_id,
        state=None if where is None else PlateState(where.state),
        four_eyes=bool(await connection.scalar(select(sites.c.four_eyes).where(sites.c.id == run.site_id))),
    )


async def _plate(connection: AsyncConnection, plate_id: str | None) -> Any:
    if plate_id is None:
        return None
    return (await connection.execute(select(plates.c.test_id, plates.c.state).where(plates.c.id == plate_id))).one()


async def corrections_of(connection: AsyncConnection, run_ids: Iterable[str]) -> dict[str, tuple[Correction, ...]]:
    """What was said of these runs, by run, in order."""
    query = select(corrections).where(corrections.c.run_id.in_(list(run_ids))).order_by(corrections.c.number)
    found: dict[str, tuple[Correction, ...]] = {}
    for row in await connection.execute(query):
        found[row.run_id] = (*found.get(row.run_id, ()), correction_of(row._mapping))
    return found


def correction_of(row: Mapping[Any, Any]) -> Correction:
    """A stored correction."""
    return Correction(
        number=row["number"],
        revision=row["revision"],
        action=Action(row["action"]),
        target=row["target"],
        call=None if row["call"] is None else Call(row["call"]),
        machine_call=None if row["machine_call"] is None else Call(row["machine_call"]),
        reason_code=row["reason_code"],
        reason=row["reason"],
        at=row["at"],
        user_id=row["user_id"],
    )


async def signatures_of(connection: AsyncConnection, run_ids: Iterable[str]) -> dict[str, tuple[Signature, ...]]:
    """The signatures of these runs, by run, in order."""
    query = select(signatures).where(signatures.c.run_id.in_(list(run_ids))).order_by(signatures.c.at, signatures.c.id)
    found: dict[str, tuple[Signature, ...]] = {}
    for row in await connection.execute(query):
        meaning: Meaning = "approved" if row.meaning == "approved" else "reviewed"
        signature = Signature(
            id=row.id,
            revision=row.revision,
            meaning=meaning,
            user_id=row.user_id,
            at=row.at,
            proved=row.proved,
            record_sha256=row.record_sha256,
        )
        found[row.run_id] = (*found.get(row.run_id, ()), signature)
    return found


async def control_sera_of(connection: AsyncConnection, plate_id: str) -> dict[str, ControlSerum]:
    """The control sera of a plate, by row."""
    query = (
        select(placements.c.row, *(control_sera.c[name] for name in ControlSerum.__struct_fields__))
        .join(control_sera, control_sera.c.id == placements.c.control_serum_id)
        .where(placements.c.plate_id == plate_id)
    )
    names = ControlSerum.__struct_fields__
    return {
        row.row: ControlSerum(**{name: row._mapping[name] for name in names}) for row in await connection.execute(query)
    }


async def names_of(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, str]:
    """The names that people have today."""
    wanted = set(ids)
    query = select(users.c.id, users.c.name).where(users.c.id.in_(wanted))
    return {row.id: row.name for row in await connection.execute(query)} if wanted else {}

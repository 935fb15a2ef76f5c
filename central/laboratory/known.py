"""What a site has planned already of what somebody names: one look at the database, as values to compare with."""

from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from central.db import CHUNK
from central.laboratory.fields import OF_PLATE, OF_SUBMISSION, OF_TEST, Fields
from central.laboratory.states import PlateState
from central.laboratory.worklist import Placed
from central.tables import control_sera, placements, plates, profiles, sera, sites, submissions, tests
from protocol.profiles import PROFILES


class KnownSubmission(msgspec.Struct, frozen=True):
    """A submission that is there; fields that are empty are not in `fields`."""

    id: str
    fields: Fields
    voided: bool
    revision: int = 1


class KnownTest(msgspec.Struct, frozen=True):
    """A test that is there."""

    id: str
    fields: Fields
    revision: int = 1


class KnownPlate(msgspec.Struct, frozen=True):
    """A plate that is there, with what its rows hold."""

    id: str
    state: PlateState
    fields: Fields
    rows: dict[str, Placed]
    revision: int = 1


class Known(msgspec.Struct, frozen=True):
    """All that is there under the names of submissions; keys are (submission), (submission, test) and so on."""

    submissions: dict[str, KnownSubmission]
    tests: dict[tuple[str, str], KnownTest]
    plates: dict[tuple[str, str, str], KnownPlate]
    sera: dict[tuple[str, str], str]
    positions: dict[str, int]  # submission → of its last serum
    control_sera: dict[tuple[str, str], str]  # (name, lot) → id, of those that are in use
    profiles: frozenset[str]


async def hold_site(connection: AsyncConnection, site_id: str) -> bool:
    """One after the other: whoever plans something at a site holds its row until his transaction ends.

    Ingest shares the row at sites where codes wait, so that no run slips between a plate and its registration. False
    where there is no such site.
    """
    held = select(sites.c.id).where(sites.c.id == site_id).with_for_update(key_share=True)
    return await connection.scalar(held) is not None


async def known(connection: AsyncConnection, site_id: str, names: Iterable[str]) -> Known:
    """What the site has of these submissions."""
    wanted = sorted(set(names))
    found = Known({}, {}, {}, {}, {}, {}, frozenset())
    for at in range(0, len(wanted), CHUNK):
        await _add(connection, found, site_id, wanted[at : at + CHUNK])
    controls = await connection.execute(
        select(control_sera).where(control_sera.c.site_id == site_id, control_sera.c.retired_at.is_(None))
    )
    found.control_sera.update({(row.name, row.lot): row.id for row in controls})
    return msgspec.structs.replace(found, profiles=await profile_names(connection))


async def profile_names(connection: AsyncConnection) -> frozenset[str]:
    """Every assay profile there is, shipped or of this central's own."""
    return frozenset(PROFILES) | set(await connection.scalars(select(profiles.c.name).distinct()))


async def _add(connection: AsyncConnection, found: Known, site_id: str, names: Collection[str]) -> None:
    these = (submissions.c.site_id == site_id, submissions.c.name.in_(names))
    for row in await connection.execute(select(submissions).where(*these)):
        voided = row.voided_at is not None
        found.submissions[row.name] = KnownSubmission(row.id, _fields(row, OF_SUBMISSION), voided, row.revision)
    of_test = select(tests, submissions.c.name.label("submission")).join(submissions).where(*these)
    for row in await connection.execute(of_test):
        found.tests[row.submission, row.name] = KnownTest(row.id, _fields(row, OF_TEST), row.revision)
    of_plate = select(plates, submissions.c.name.label("submission"), tests.c.name.label("test"))
    by_id: dict[str, KnownPlate] = {}
    for row in await connection.execute(
        of_plate.join(tests, tests.c.id == plates.c.test_id).join(submissions).where(*these)
    ):
        by_id[row.id] = KnownPlate(row.id, PlateState(row.state), _fields(row, OF_PLATE), {}, row.revision)
        found.plates[row.submission, row.test, row.number] = by_id[row.id]
    for row in await connection.execute(_placements().where(*these)):
        by_id[row.plate_id].rows[row.row] = placed(row)
    of_serum = select(sera, submissions.c.name.label("submission")).join(submissions).where(*these)
    for row in await connection.execute(of_serum):
        found.sera[row.submission, row.name] = row.id
        found.positions[row.submission] = max(found.positions.get(row.submission, 0), row.position)


def _placements() -> Any:
    return (
        select(
            placements.c.plate_id,
            placements.c.row,
            sera.c.name.label("serum"),
            control_sera.c.name.label("control"),
            control_sera.c.lot,
        )
        .join(plates, plates.c.id == placements.c.plate_id)
        .join(tests, tests.c.id == plates.c.test_id)
        .join(submissions, submissions.c.id == tests.c.submission_id)
        .outerjoin(sera, sera.c.id == placements.c.serum_id)
        .outerjoin(control_sera, control_sera.c.id == placements.c.control_serum_id)
    )


def placed(row: Row[Any]) -> Placed:
    """What a row of a plate holds, of a row with `serum`, `control` and `lot`."""
    return Placed(serum=row.serum, control=row.control, lot=row.lot)


async def placements_of(connection: AsyncConnection, plate_ids: Collection[str]) -> dict[str, dict[str, Placed]]:
    """What the rows of these plates hold: plate → row → serum or control."""
    found: dict[str, dict[str, Placed]] = {plate: {} for plate in plate_ids}
    wanted = sorted(plate_ids)
    for at in range(0, len(wanted), CHUNK):
        query = _placements().where(placements.c.plate_id.in_(wanted[at : at + CHUNK]))
        for row in await connection.execute(query):
            found[row.plate_id][row.row] = placed(row)
    return found


def _fields(row: Row[Any], names: Iterable[str]) -> Fields:
    return {name: row._mapping[name] for name in names if row._mapping[name] is not None}

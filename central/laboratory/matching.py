"""Which plate a run is of: what its code says, among the plates of its device's site. Nothing is guessed.

Each run gets its record here, in the transaction that accepts it. A code that nobody registered is registered as it
stands where the site says so ("register"); elsewhere its run waits until somebody registers the plate or says which it
is.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import Row, bindparam, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from central.db import insert_ignore
from central.laboratory.states import PlateEvent, PlateState, StateError, after
from central.tables import devices, plates, run_records, sites, submissions, tests

# (site, submission, test, plate number)
Code: TypeAlias = tuple[str, str, str, str]

GRADES: Final = ("low", "medium", "high")
# A titre at the end of its dilutions is no doubt; everything else that a row is flagged with is.
NO_DOUBTS: Final = frozenset({"at_limit", "below"})


async def record_runs(connection: AsyncConnection, accepted: Sequence[Mapping[str, Any]], now: datetime) -> None:
    """The records of runs that were just accepted; `accepted` are their rows in `runs`."""
    if not accepted:
        return
    of_device = await _sites_of(connection, {row["device_id"] for row in accepted})
    codes = {row["id"]: _code(of_device[row["device_id"]].id, row) for row in accepted}
    known = await _plates_of(connection, {code for code in codes.values() if code is not None})
    registering = {site.id for site in of_device.values() if site.unregistered == "register"}
    new = {code for code in codes.values() if code is not None and code not in known and code[0] in registering}
    if new:
        await register(connection, new, now)
        known |= await _plates_of(connection, new)
    records, read = [], set()
    for row in accepted:
        code = codes[row["id"]]
        plate = None if code is None else known.get(code)
        if plate is not None:
            read.add(plate)
        records.append(
            {
                "run_id": row["id"],
                "site_id": of_device[row["device_id"]].id,
                "plate_id": None if plate is None else plate[0],
                "matched_by": None if plate is None else "code",
                "revision": 1,
                "assay_version": row["profile_version"],
                "worst_grade": worst_grade(row["endpoints"].values()),
                "flagged": is_flagged(row["endpoints"].values()),
            }
        )
    await connection.execute(insert(run_records), records)
    await _move(connection, read, PlateEvent.READ)


def worst_grade(endpoints: Iterable[Mapping[str, Any]]) -> str:
    """The lowest grade of a run's rows; a run without endpoints is low: somebody must look at it."""
    return min((row["grade"] for row in endpoints), key=GRADES.index, default="low")


def is_flagged(endpoints: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any row has a flag that a person should look at."""
    return any(not NO_DOUBTS.issuperset(row["flags"]) for row in endpoints)


async def register(connection: AsyncConnection, codes: Iterable[Code], now: datetime) -> None:
    """Submissions, tests and plates as these codes name them, where they are not there yet."""
    wanted = sorted(codes)
    dialect = connection.dialect.name
    for site, name in sorted({code[:2] for code in wanted}):
        row = {"id": str(uuid.uuid4()), "site_id": site, "name": name, "revision": 1, "created_at": now}
        await connection.execute(insert_ignore(dialect, submissions), row | {"created_by": "system", "origin": "code"})
    owners = await _ids(connection, submissions, {code[:2] for code in wanted})
    for site, submission, name in sorted({code[:3] for code in wanted}):
        row = {"id": str(uuid.uuid4()), "submission_id": owners[site, submission], "name": name, "revision": 1}
        await connection.execute(insert_ignore(dialect, tests), row)
    query = (
        select(tests.c.id, tests.c.name, submissions.c.site_id, submissions.c.name.label("submission"))
        .join(submissions, submissions.c.id == tests.c.submission_id)
        .where(tests.c.submission_id.in_(owners.values()))
    )
    ids = {(row.site_id, row.submission, row.name): row.id for row in await connection.execute(query)}
    for code in wanted:
        row = {"id": str(uuid.uuid4()), "test_id": ids[code[:3]], "number": code[3], "revision": 1}
        await connection.execute(insert_ignore(dialect, plates), row | {"state": PlateState.REGISTERED.value})


def _code(site_id: str, row: Mapping[str, Any]) -> Code | None:
    parts = row["submission"], row["test"], row["plate_number"]
    return None if None in parts else (site_id, *parts)


async def _sites_of(connection: AsyncConnection, device_ids: set[str]) -> dict[str, Row[Any]]:
    query = (
        select(devices.c.id.label("device_id"), sites.c.id, sites.c.unregistered)
        .join(sites, sites.c.id == devices.c.site_id)
        .where(devices.c.id.in_(device_ids))
    )
    return {row.device_id: row for row in await connection.execute(query)}


async def _plates_of(connection: AsyncConnection, codes: set[Code]) -> dict[Code, tuple[str, str]]:
    """(id, state) of the plates that are known by these codes."""
    key = submissions.c.site_id, submissions.c.name, tests.c.name, plates.c.number
    query = (
        select(plates.c.id, plates.c.state, *(column.label(f"code_{at}") for at, column in enumerate(key)))
        .join(tests, tests.c.id == plates.c.test_id)
        .join(submissions, submissions.c.id == tests.c.submission_id)
        .where(tuple_(*key).in_(codes))
    )
    if not codes:
        return {}
    rows = await connection.execute(query)
    return {(row.code_0, row.code_1, row.code_2, row.code_3): (row.id, row.state) for row in rows}


async def _ids(connection: AsyncConnection, table: Any, keys: set[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    query = select(table.c.id, table.c.site_id, table.c.name).where(tuple_(table.c.site_id, table.c.name).in_(keys))
    return {(row.site_id, row.name): row.id for row in await connection.execute(query)}


async def _move(connection: AsyncConnection, known: Iterable[tuple[str, str]], event: PlateEvent) -> None:
    """These plates, (id, state), to where the event brings them; one that is void stays so."""
    moves = []
    for plate_id, state in sorted(known):
        try:
            target = after(PlateState(state), event)
        except StateError:
            continue
        if target.value != state:
            moves.append({"plate": plate_id, "to": target.value})
    if moves:
        move = update(plates).where(plates.c.id == bindparam("plate")).values(state=bindparam("to"))
        await connection.execute(move, moves)

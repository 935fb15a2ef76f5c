"""Which plate a run is of: what its code says, among the plates of its device's site. Nothing is guessed.

Each run gets its record here, in the transaction that accepts it. A code that nobody registered is registered as it
stands where the site says so ("register"); elsewhere its run waits until somebody registers the plate or says which it
is. What does not fit raises an alarm (`alarms`).
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import Row, Select, Table, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from central.assays.interpret import interpreted
from central.audit.chain import Change
from central.db import CHUNK
from central.laboratory.alarms import FOREIGN_CODE, Alarm, Fit, misfits, raise_alarms
from central.laboratory.states import PlateEvent, PlateState, StateError, after
from central.many import all_of, one_of, put_many
from central.tables import devices, placements, plates, run_records, runs, sites, submissions, tests

# (site, submission, test, plate number)
Code: TypeAlias = tuple[str, str, str, str]

_MOST_SITES: Final = 100

GRADES: Final = ("low", "medium", "high")
# A titre at the end of its dilutions is no doubt; everything else that a row is flagged with is.
NO_DOUBTS: Final = frozenset({"at_limit", "below"})


async def record_runs(
    connection: AsyncConnection, accepted: Sequence[Mapping[str, Any]], now: datetime
) -> list[dict[str, Any]]:
    """The records of runs that were just accepted, in their order; `accepted` are their rows in `runs`."""
    if not accepted:
        return []
    of_device = await _sites_of(connection, {row["device_id"] for row in accepted})
    codes = {row["id"]: _code(of_device[row["device_id"]].id, row) for row in accepted}
    await _share(connection, {site.id for site in of_device.values() if site.unregistered != "register"})
    known = await _plates_of(connection, {code for code in codes.values() if code is not None})
    strange = {code for code in codes.values() if code is not None and code not in known}
    foreign = await _planned_elsewhere(connection, strange)
    registering = {site.id for site in of_device.values() if site.unregistered == "register"}
    new = {code for code in strange if code[0] in registering}
    registered = await register(connection, new, now) if new else {}
    known |= registered
    if late := new - set(registered):  # another central was quicker with these
        known |= await _plates_of(connection, late)
    alarms = [_foreign(row["id"], code) for row in accepted if (code := codes[row["id"]]) in foreign and code]
    records, read = [], []
    for row, taken in zip(accepted, await interpreted(connection, accepted), strict=True):
        code = codes[row["id"]]
        plate = None if code is None else known.get(code)
        site_id = of_device[row["device_id"]].id
        if plate is not None:
            read.append((site_id, row, plate))
        records.append(
            {
                "run_id": row["id"],
                "site_id": site_id,
                "plate_id": None if plate is None else plate.id,
                "matched_by": None if plate is None else "code",
                "revision": 1,
                "assay_version": taken.assay_version,
                "revised": taken.revised,
                "worst_grade": worst_grade(taken.endpoints.values()),
                "flagged": is_flagged(taken.endpoints.values()),
            }
        )
    await put_many(connection, run_records, records, leave_taken=False)
    await raise_alarms(connection, [*alarms, *await _alarms_of(connection, read)], now)
    arrived_already = {plate.id for plate in registered.values()}
    await _move(connection, {plate.id for _, _, plate in read} - arrived_already, PlateEvent.READ)
    return records


async def match_waiting(
    connection: AsyncConnection, site_id: str, plate_ids: Sequence[str], now: datetime
) -> list[Change]:
    """Runs of this site that waited for these plates are theirs now; the audit trail's entries for it."""
    waiting = []
    for at in range(0, len(plate_ids), CHUNK):
        query = (
            select(runs.c.id, runs.c.profile, runs.c.endpoints, plates.c.id.label("plate_id"), run_records.c.revision)
            .join(run_records, run_records.c.run_id == runs.c.id)
            .join(submissions, (submissions.c.name == runs.c.submission) & (submissions.c.site_id == site_id))
            .join(tests, (tests.c.submission_id == submissions.c.id) & (tests.c.name == runs.c.test))
            .join(plates, (plates.c.test_id == tests.c.id) & (plates.c.number == runs.c.plate_number))
            .where(
                plates.c.id.in_(plate_ids[at : at + CHUNK]),
                run_records.c.site_id == site_id,
                run_records.c.plate_id.is_(None),
                run_records.c.voided_at.is_(None),
            )
            .order_by(runs.c.number)
        )
        waiting += [row._mapping for row in await connection.execute(query)]
    changes = []
    for row in waiting:
        await assign(connection, row["id"], row["plate_id"], "code")
        new = {"plate_id": row["plate_id"], "matched_by": "code"}
        changes.append(Change("run.match", "run", row["id"], site_id, old={"plate_id": None}, new=new))
    await arrived(connection, site_id, waiting, now)
    return changes


async def assign(connection: AsyncConnection, run_id: str, plate_id: str | None, by: str | None) -> None:
    """Write down which plate a run is of."""
    values = {"plate_id": plate_id, "matched_by": by, "revision": run_records.c.revision + 1}
    await connection.execute(update(run_records).where(run_records.c.run_id == run_id).values(values))


async def arrived(connection: AsyncConnection, site_id: str, found: Sequence[Mapping[Any, Any]], now: datetime) -> None:
    """Runs (id, profile, endpoints, plate_id) are of their plates now: move these, and say what does not fit."""
    ids = sorted({row["plate_id"] for row in found})
    if not ids:
        return
    query = select(plates.c.id, plates.c.state, tests.c.profile).join(tests).where(plates.c.id.in_(ids))
    by_id = {row.id: Fit(row.id, PlateState(row.state), row.profile) for row in await connection.execute(query)}
    read = [(site_id, row, by_id[row["plate_id"]]) for row in found]
    await raise_alarms(connection, await _alarms_of(connection, read), now)
    await _move(connection, by_id, PlateEvent.READ)


async def left(connection: AsyncConnection, plate_id: str) -> None:
    """A run is of this plate no longer: where no other one is, the plate is as if it had not been read."""
    others = select(run_records.c.run_id).where(run_records.c.plate_id == plate_id, run_records.c.voided_at.is_(None))
    if await connection.scalar(others.limit(1)) is None:
        await _move(connection, [plate_id], PlateEvent.UNREAD)


async def _alarms_of(connection: AsyncConnection, read: Sequence[tuple[str, Mapping[Any, Any], Fit]]) -> list[Alarm]:
    """What does not fit: (site, run, plate) of each."""
    # A plate that nobody planned has no sera yet.
    planned = {plate.id for _, _, plate in read if plate.state is not PlateState.REGISTERED}
    rows: dict[str, set[str]] = {}
    if planned:
        here = one_of(connection, placements.c.plate_id, planned)
        query = select(placements.c.plate_id, placements.c.row).where(here)
        for row in await connection.execute(query):
            rows.setdefault(row.plate_id, set()).add(row.row)
    return [
        Alarm(site_id, kind, "run", run["id"], detail)
        for site_id, run, plate in read
        for kind, detail in misfits(run["profile"], run["endpoints"], plate, rows.get(plate.id, set()))
    ]


def _foreign(run_id: str, code: Code) -> Alarm:
    """Nothing is said of the other laboratory, not even its name."""
    detail = f"code {','.join(code[1:])} was planned by another laboratory, not here: does the reader belong here?"
    return Alarm(code[0], FOREIGN_CODE, "run", run_id, detail)


def worst_grade(endpoints: Iterable[Mapping[str, Any]]) -> str:
    """The lowest grade of a run's rows; a run without endpoints is low: somebody must look at it."""
    return min((row["grade"] for row in endpoints), key=GRADES.index, default="low")


def is_flagged(endpoints: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any row has a flag that a person should look at."""
    return any(not NO_DOUBTS.issuperset(row["flags"]) for row in endpoints)


async def register(connection: AsyncConnection, codes: Iterable[Code], now: datetime) -> dict[Code, Fit]:
    """Submissions, tests and plates of runs that were just accepted, as these codes name them; the plates that are new.

    Nobody has planned anything of these plates: they are as registered, and read at once.
    """
    wanted = sorted(codes)
    names = sorted({code[:2] for code in wanted})
    named_by_code = {"revision": 1, "created_at": now, "created_by": "system", "origin": "code"}
    await _put(connection, submissions, [{"site_id": site, "name": name, **named_by_code} for site, name in names])
    owners = await _ids(connection, submissions, set(names))
    of_tests = sorted({code[:3] for code in wanted})
    rows = [{"submission_id": owners[code[:2]], "name": code[2], "revision": 1} for code in of_tests]
    await _put(connection, tests, rows)
    query = (
        select(tests.c.id, tests.c.name, tests.c.profile, submissions.c.site_id, submissions.c.name.label("submission"))
        .join(submissions, submissions.c.id == tests.c.submission_id)
        .where(one_of(connection, tests.c.submission_id, owners.values()))
    )
    of_code = {(row.site_id, row.submission, row.name): row for row in await connection.execute(query)}
    of_id = {row.id: (code, row.profile) for code, row in of_code.items()}
    read = {"revision": 1, "state": after(PlateState.REGISTERED, PlateEvent.READ).value}
    rows = [{"test_id": of_code[code[:3]].id, "number": code[3], **read} for code in wanted]
    put = await _put(connection, plates, rows, returning=("id", "test_id", "number"))
    named = [(row.id, row.number, *of_id[row.test_id]) for row in put]
    return {(*code, number): Fit(id_, PlateState.REGISTERED, profile) for id_, number, code, profile in named}


async def _put(
    connection: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]], returning: Sequence[str] = ()
) -> Sequence[Row[Any]]:
    """These rows under ids of their own, where they are not there yet, all with one statement."""
    return await put_many(connection, table, [{"id": str(uuid.uuid4()), **row} for row in rows], returning=returning)


def _code(site_id: str, row: Mapping[str, Any]) -> Code | None:
    parts = row["submission"], row["test"], row["plate_number"]
    return None if None in parts else (site_id, *parts)


async def _sites_of(connection: AsyncConnection, device_ids: set[str]) -> dict[str, Row[Any]]:
    query = (
        select(devices.c.id.label("device_id"), sites.c.id, sites.c.unregistered)
        .join(sites, sites.c.id == devices.c.site_id)
        .where(one_of(connection, devices.c.id, device_ids))
    )
    return {row.device_id: row for row in await connection.execute(query)}


async def _share(connection: AsyncConnection, site_ids: set[str]) -> None:
    """Where runs wait, nobody registers a plate between the look for it and the end of this transaction."""
    if site_ids:
        held = select(sites.c.id).where(sites.c.id.in_(site_ids)).order_by(sites.c.id).with_for_update(read=True)
        await connection.execute(held)


async def _planned_elsewhere(connection: AsyncConnection, codes: set[Code]) -> set[Code]:
    """Those of these codes, none of them known at its own site, that another site has planned."""
    if not codes:
        return set()
    others = list(await connection.scalars(select(sites.c.id).limit(_MOST_SITES)))
    asked = {(other, *code[1:]): code for code in codes for other in others if other != code[0]}
    planned: set[Code] = set()
    for at in range(0, len(keys := sorted(asked)), CHUNK):
        query = _plate_query(connection, set(keys[at : at + CHUNK])).where(submissions.c.origin != "code")
        planned |= {asked[_key(row)] for row in await connection.execute(query)}
    return planned


def _key(row: Row[Any]) -> Code:
    return row.code_0, row.code_1, row.code_2, row.code_3


def _plate_query(connection: AsyncConnection, codes: set[Code]) -> Select[Any]:
    key = submissions.c.site_id, submissions.c.name, tests.c.name, plates.c.number
    return (
        select(
            plates.c.id,
            plates.c.state,
            tests.c.profile,
            *(column.label(f"code_{at}") for at, column in enumerate(key)),
        )
        .join(tests, tests.c.id == plates.c.test_id)
        .join(submissions, submissions.c.id == tests.c.submission_id)
        .where(all_of(connection, key, codes))
    )


async def _plates_of(connection: AsyncConnection, codes: set[Code]) -> dict[Code, Fit]:
    """The plates that are known by these codes."""
    if not codes:
        return {}
    rows = await connection.execute(_plate_query(connection, codes))
    return {_key(row): Fit(row.id, PlateState(row.state), row.profile) for row in rows}


async def _ids(connection: AsyncConnection, table: Any, keys: set[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    named = all_of(connection, (table.c.site_id, table.c.name), keys)
    query = select(table.c.id, table.c.site_id, table.c.name).where(named)
    return {(row.site_id, row.name): row.id for row in await connection.execute(query)}


async def _move(connection: AsyncConnection, plate_ids: Iterable[str], event: PlateEvent) -> None:
    """These plates to where the event brings them; one that is void stays so.

    They are held, and looked at only then: somebody may have approved one since.
    """
    wanted = sorted(plate_ids)
    moves = []
    for at in range(0, len(wanted), CHUNK):
        here = one_of(connection, plates.c.id, wanted[at : at + CHUNK])
        these = select(plates.c.id, plates.c.state).where(here)
        for row in await connection.execute(these.order_by(plates.c.id).with_for_update(key_share=True)):
            try:
                target = after(PlateState(row.state), event)
            except StateError:
                continue
            if target.value != row.state:
                moves.append({"plate": row.id, "to": target.value})
    if moves:
        move = update(plates).where(plates.c.id == bindparam("plate")).values(state=bindparam("to"))
        await connection.execute(move, moves)

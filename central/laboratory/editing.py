"""Changes by hand to what is planned: metadata, location, sera in rows, void. By revision, with a reason, audited.

Who names another revision than the thing's is told what changed since, and nothing happens. Names stand: a plate's code
is on the plate. Nothing is deleted; void is for ever.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row, Select, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import Actor, Change, Entry, record
from central.audit.queries import history_of
from central.db import transaction
from central.deliveries.changes import announce, news_of_plates
from central.deliveries.withdrawing import withdraw
from central.laboratory.comparing import OPEN
from central.laboratory.fields import LAB_ID, OF_PLATE, OF_SUBMISSION, OF_TEST, value_of
from central.laboratory.known import hold_site, known, placements_of, profile_names
from central.laboratory.states import PlateEvent, PlateState, after
from central.laboratory.worklist import Placed
from central.people.sites import Sites
from central.tables import memberships, placements, plates, sera, submissions, tests, users
from protocol.profiles import PROFILES

TABLES: Final = {"submission": submissions, "test": tests, "plate": plates}
OWN_FIELDS: Final = OF_SUBMISSION
FIELDS: Final = {"submission": (*OF_SUBMISSION, "assignee_id"), "test": OF_TEST, "plate": OF_PLATE}


class RefusedError(ValueError):
    """Something that cannot be done to it; the message says why and what is expected."""


class UnknownError(LookupError):
    """No such thing, or one of another site."""


class StaleError(Exception):
    """The thing is at another revision than the one that was seen; `since` is what became of it meanwhile."""

    def __init__(self, kind: str, seen: int, now: int, since: Sequence[Entry]) -> None:
        """`seen` is the revision that the caller named, `now` the one it has."""
        super().__init__(f"revision {seen} of the {kind} (expected {now}: it was changed meanwhile)")
        self.revision = now
        self.since = tuple(since)


class _Fresh(msgspec.Struct, frozen=True):
    revision: int = 0


async def change(
    engine: AsyncEngine,
    kind: str,
    object_id: str,
    values: Mapping[str, Any],
    *,
    seen: int,
    sites: Sites,
    actor: Actor,
    now: datetime,
    reason: str | None = None,
) -> int:
    """Set these fields (None empties one); the revision afterwards. Nothing is written where nothing differs."""
    table = TABLES[kind]
    async with transaction(engine) as connection:
        row = await _take(connection, kind, object_id, seen, sites)
        new = {name: value for name, value in values.items() if row._mapping[name] != value}
        if not new:
            return seen
        await _check(connection, kind, row, new)
        await connection.execute(update(table).where(table.c.id == object_id).values(revision=seen + 1, **new))
        old = {name: row._mapping[name] for name in new}
        shown = new | {"revision": seen + 1}
        await record(
            connection, actor, [Change(f"{kind}.change", kind, object_id, row.site_id, old, shown, reason)], now
        )
    return seen + 1


def checked(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Text of a form as values of this kind of thing; RefusedError names the first field that is wrong."""
    found: dict[str, Any] = {}
    for name in FIELDS[kind]:
        if name not in values:
            continue
        text = str(values[name] if values[name] is not None else "").strip()
        try:
            found[name] = None if not text else text if name == "assignee_id" else value_of(name, text)
        except ValueError as error:
            raise RefusedError(f"{name.replace('_', ' ')} {text[:80]!r} (expected {error})") from error
    return found


async def place(
    engine: AsyncEngine,
    plate_id: str,
    rows: Mapping[str, Placed | None],
    *,
    seen: int,
    sites: Sites,
    actor: Actor,
    now: datetime,
    reason: str | None = None,
) -> int:
    """Say what these rows of a plate hold (None: nothing); other rows stay. The revision afterwards."""
    async with transaction(engine) as connection:
        row = await _take(connection, "plate", plate_id, seen, sites)
        held = (await placements_of(connection, [plate_id]))[plate_id]
        new = {name: placed for name, placed in rows.items() if held.get(name) != placed}
        if not new:
            return seen
        if PlateState(row.state) not in OPEN:
            raise RefusedError(f"the plate is {row.state}: its sera stand (expected {', '.join(sorted(OPEN))})")
        _check_rows(row.profile, new)
        await _replace(connection, row, new)
        state = PlateState(row.state)
        if state is PlateState.REGISTERED and any(placed is not None for placed in new.values()):
            state = after(state, PlateEvent.PLATE)
        values = {"revision": seen + 1, "state": state.value}
        await connection.execute(update(plates).where(plates.c.id == plate_id).values(values))
        old = {name: held[name].words for name in new if name in held}
        shown = {"rows": {name: placed and placed.words for name, placed in new.items()}, **values}
        changed = Change("plate.place", "plate", plate_id, row.site_id, {"rows": old}, shown, reason)
        await record(connection, actor, [changed], now)
        await announce(connection, await news_of_plates(connection, "run.changed", [plate_id]), now)
    return seen + 1


def _check_rows(profile: str | None, rows: Mapping[str, Placed | None]) -> None:
    layout = PROFILES.get(profile or "")
    series = None if layout is None else [each.row for each in layout.series]
    for name, placed in rows.items():
        if series is not None and name not in series:
            raise RefusedError(f"row {name} is none of profile {profile} (expected {', '.join(series)})")
        if placed is not None and placed.serum is not None and not LAB_ID.fullmatch(placed.serum):
            expected = "1 to 64 letters, digits and . _ : / -, the first a letter or digit"
            raise RefusedError(f"serum {placed.serum[:80]!r} (expected {expected})")


async def _replace(connection: AsyncConnection, row: Row[Any], rows: Mapping[str, Placed | None]) -> None:
    there = await known(connection, row.site_id, [row.submission])
    position = there.positions.get(row.submission, 0)
    put = []
    for name, placed in rows.items():
        if placed is None:
            continue
        serum = control = None
        if placed.serum is not None:
            serum = there.sera.get((row.submission, placed.serum))
            if serum is None:
                position += 1
                serum = there.sera[row.submission, placed.serum] = str(uuid.uuid4())
                new = {"id": serum, "submission_id": row.submission_id, "name": placed.serum, "position": position}
                await connection.execute(insert(sera).values(new))
        else:
            control = there.control_sera.get((placed.control or "", placed.lot or ""))
            if control is None:
                raise RefusedError(f"no {placed.words} (expected a control serum that is registered and in use)")
        put.append({"plate_id": row.id, "row": name, "serum_id": serum, "control_serum_id": control})
    gone = delete(placements).where(placements.c.plate_id == row.id, placements.c.row.in_(list(rows)))
    await connection.execute(gone)
    if put:
        await connection.execute(insert(placements), put)


async def void(
    engine: AsyncEngine,
    kind: str,
    object_id: str,
    *,
    seen: int,
    sites: Sites,
    actor: Actor,
    now: datetime,
    reason: str,
) -> int:
    """This thing, and every plate of it, is void from now on: its runs count nowhere. The revision afterwards."""
    table = TABLES[kind]
    async with transaction(engine) as connection:
        row = await _take(connection, kind, object_id, seen, sites)
        query = _objects("plate").where(table.c.id == object_id).order_by(submissions.c.name, plates.c.number)
        going = [each for each in await connection.execute(query) if each.state != PlateState.VOID]
        over = row._mapping.get("voided_at") is not None if kind == "submission" else not going
        if over:
            raise RefusedError(f"the {kind} is void already, or has no plate (expected one that is not)")
        values = {"voided_at": now} if kind == "submission" else {}
        if kind != "plate":
            await connection.execute(update(table).where(table.c.id == object_id).values(revision=seen + 1, **values))
        changes = [] if kind == "plate" else [_voided(kind, row, seen + 1, reason)]
        for each in going:
            state = after(PlateState(each.state), PlateEvent.VOID)
            move = update(plates).where(plates.c.id == each.id)
            await connection.execute(move.values(state=state.value, revision=each.revision + 1))
            changes.append(_voided("plate", each, each.revision + 1, reason, each.state))
        news = await news_of_plates(connection, "run.voided", [each.id for each in going])
        run_ids = [each.run_id for each in news if each.run_id is not None]
        changes += await withdraw(connection, run_ids, actor=actor, now=now)
        await record(connection, actor, changes, now)
        await announce(connection, news, now)
    return seen + 1


def _voided(kind: str, row: Row[Any], revision: int, reason: str, state: str | None = None) -> Change:
    old = None if state is None else {"state": state}
    new = {"state": PlateState.VOID.value, "revision": revision}
    return Change(f"{kind}.void", kind, row.id, row.site_id, old, new, reason)


async def _take(connection: AsyncConnection, kind: str, object_id: str, seen: int, sites: Sites) -> Row[Any]:
    """The thing, held until the transaction ends; UnknownError, or StaleError where it is at another revision."""
    table = TABLES[kind]
    query = _objects(kind).where(table.c.id == object_id, sites.having(submissions.c.site_id))
    site = (await connection.execute(query)).first()
    if site is None:
        raise UnknownError(f"no {kind} {object_id!r} here")
    await hold_site(connection, site.site_id)
    row = (await connection.execute(query)).one()
    if row.revision != seen:
        entries = await history_of(connection, kind, object_id, sites)
        since = [entry for entry in entries if _revision(entry) > seen]
        raise StaleError(kind, seen, row.revision, since)
    return row


def _revision(entry: Entry) -> int:
    try:
        return msgspec.json.decode(entry.new or "{}", type=_Fresh).revision
    except msgspec.DecodeError:
        return 0


def _objects(kind: str) -> Select[Any]:
    """Every column of a thing, with its site and what it is part of."""
    more = [submissions.c.site_id.label("site_id"), submissions.c.name.label("submission")]
    if kind == "submission":
        return select(*[column for column in submissions.c if column.name != "site_id"], *more)
    if kind == "test":
        return select(tests, *more).join(submissions, submissions.c.id == tests.c.submission_id)
    return (
        select(plates, *more, tests.c.submission_id, tests.c.profile)
        .join(tests, tests.c.id == plates.c.test_id)
        .join(submissions, submissions.c.id == tests.c.submission_id)
    )


async def _check(connection: AsyncConnection, kind: str, row: Row[Any], new: Mapping[str, Any]) -> None:
    if kind == "submission" and row.voided_at is not None:
        raise RefusedError("the submission is void (expected one that is not)")
    if kind == "plate" and row.state == PlateState.VOID:
        raise RefusedError("the plate is void (expected one that is not)")
    assignee = new.get("assignee_id")
    if assignee is not None and not await _is_of_site(connection, str(assignee), row.site_id):
        raise RefusedError(f"assignee {assignee!r} (expected a person of this laboratory)")
    profile = new.get("profile")
    if profile is not None and profile not in (names := await profile_names(connection)):
        raise RefusedError(f"assay profile {profile!r} (expected {', '.join(sorted(names))})")


async def _is_of_site(connection: AsyncConnection, user_id: str, site_id: str) -> bool:
    query = (
        select(users.c.id)
        .outerjoin(memberships, (memberships.c.user_id == users.c.id) & (memberships.c.site_id == site_id))
        .where(
            users.c.id == user_id,
            users.c.disabled_at.is_(None),
            (memberships.c.user_id.is_not(None)) | (users.c.role == "admin"),
        )
    )
    return await connection.scalar(query) is not None


async def code_of(connection: AsyncConnection, sites: Sites, test_id: str) -> tuple[str, str, str]:
    """(site, submission, test) of a test; UnknownError where there is none, or it is another site's."""
    query = _objects("test").where(tests.c.id == test_id, sites.having(submissions.c.site_id))
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise UnknownError(f"no test {test_id!r} here")
    return row.site_id, row.submission, row.name

"""The assay profiles that runs are interpreted by: the shipped ones, and the laboratory's own versions of them.

A version is never changed, and those of a laboratory are numbered from 1001, so that no release of Wellread ever
ships another profile under the number of one. Which version counts is the one that was activated last; where none
was, the newest shipped one. Runs that come in from then on are interpreted by it; those that are here stay as they are.
"""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec
from sqlalchemy import insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from central.audit.chain import Actor, Change, record
from central.db import transaction
from central.tables import profiles
from protocol.assay import AssayProfile
from protocol.profiles import PROFILES, SHIPPED
from protocol.soundness import check_profile, parse_profile

# Name and version of a profile.
AssayKey: TypeAlias = tuple[str, int]
Assays: TypeAlias = dict[AssayKey, AssayProfile]

FIRST_OWN_VERSION: Final = 1001
MOST_BYTES: Final = 60_000
_LARGEST: Final = 2**31 - 1


class ProfileError(ValueError):
    """A profile that cannot be taken; the message holds the value and the expectation."""


class UnknownProfileError(LookupError):
    """No profile of this name and version."""


class ProfileVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a profile. `shipped`: it comes with Wellread; `active`: new runs are interpreted by it."""

    name: str
    version: int
    title: str
    digest: str
    shipped: bool
    active: bool
    created_at: datetime | None = None
    created_by: str | None = None
    activated_at: datetime | None = None
    activated_by: str | None = None


def shipped(key: AssayKey) -> AssayProfile | None:
    """The profile of this name and version that ships with Wellread."""
    return SHIPPED.get(key)


async def assays_of(connection: AsyncConnection, keys: Iterable[AssayKey]) -> Assays:
    """The profiles of these names and versions; UnknownProfileError names one that is neither shipped nor stored."""
    found: Assays = {}
    stored: set[AssayKey] = set()
    for key in set(keys):
        profile = shipped(key)
        if profile is None:
            stored.add(key)
        else:
            found[key] = profile
    if stored:
        query = select(profiles).where(tuple_(profiles.c.name, profiles.c.version).in_(stored))
        for row in await connection.execute(query):
            found[row.name, row.version] = _parsed(msgspec.json.encode(row.document))
    missing = stored - found.keys()
    if missing:
        name, version = min(missing)
        raise UnknownProfileError(f"no assay profile {name!r} version {version} here (expected one of `list`)")
    return found


@lru_cache(maxsize=256)
def _parsed(document: bytes) -> AssayProfile:
    return msgspec.json.decode(document, type=AssayProfile)


def read_profile(content: bytes, *, toml: bool) -> AssayProfile:
    """A laboratory's own version from its file, checked; ProfileError names every mistake that is found."""
    if len(content) > MOST_BYTES:
        raise ProfileError(f"a profile of {len(content)} bytes (expected at most {MOST_BYTES})")
    try:
        if toml:
            profile = msgspec.convert(tomllib.loads(content.decode()), AssayProfile)
            check_profile(profile)
        else:
            profile = parse_profile(content)
    except (ValueError, msgspec.ValidationError, RecursionError) as error:
        raise ProfileError(str(error)) from error
    return check_own(profile)


def check_own(profile: AssayProfile) -> AssayProfile:
    """ProfileError where it cannot be a version of this laboratory: its name, number, plate or way of judging."""
    base = PROFILES.get(profile.name)
    if base is None:
        known = ", ".join(sorted(PROFILES))
        raise ProfileError(f"name {profile.name!r} (expected a profile that readers know: {known})")
    if not FIRST_OWN_VERSION <= profile.version <= _LARGEST:
        raise ProfileError(f"version {profile.version} (expected {FIRST_OWN_VERSION} or more: those below are shipped)")
    for field in ("plate_format", "judged_by"):
        if getattr(profile, field) != getattr(base, field):
            found, expected = getattr(profile, field), getattr(base, field)
            raise ProfileError(f"{field} {found!r} (expected {expected!r}, as readers judge by {profile.name!r})")
    if "\\u0000" in msgspec.json.encode(profile).decode():
        raise ProfileError("a NUL character in a text (expected printable text)")
    return profile


def digest_of(profile: AssayProfile) -> str:
    """SHA-256 of a profile's canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(profile, order="deterministic")).hexdigest()


async def add(engine: AsyncEngine, profile: AssayProfile, *, actor: Actor, now: datetime) -> ProfileVersion:
    """Store a version; ProfileError where its number is taken. It is not active by that."""
    check_own(profile)
    row = _row(profile, actor, now)
    try:
        async with transaction(engine) as connection:
            await connection.execute(insert(profiles).values(row))
            change = Change("profile.add", "profile", key_text(profile), new={"digest": row["digest"]})
            await record(connection, actor, [change], now)
    except IntegrityError as error:
        raise ProfileError(f"{key_text(profile)} is here already (expected a new version number)") from error
    return _version(row, active=False)


async def activate(engine: AsyncEngine, key: AssayKey, *, reason: str, actor: Actor, now: datetime) -> ProfileVersion:
    """Interpret runs from now on by this version; UnknownProfileError, ProfileError where no reason is given."""
    if not reason.strip():
        raise ProfileError("no reason (expected why this version counts from now on)")
    async with transaction(engine) as connection:
        profile = (await assays_of(connection, [key]))[key]
        before = (await active_versions(connection)).get(key[0])
        if before == key[1]:
            raise ProfileError(f"{key_text(profile)} is active already (expected another version)")
        here = await connection.scalar(select(profiles.c.digest).where(_is(key)))
        if here is None:  # a shipped one that comes back after one of the laboratory's own
            await connection.execute(insert(profiles).values(_row(profile, actor, now)))
        await connection.execute(update(profiles).where(_is(key)).values(activated_at=now, activated_by=actor.id))
        old, new = {"version": before}, {"version": key[1]}
        change = Change("profile.activate", "profile", key_text(profile), old=old, new=new, reason=reason.strip())
        await record(connection, actor, [change], now)
        row = (await connection.execute(select(profiles).where(_is(key)))).one()
    return _version(row._mapping, active=True)


async def active_versions(connection: AsyncConnection) -> dict[str, int]:
    """Which version of each profile new runs are interpreted by."""
    active = {name: profile.version for name, profile in PROFILES.items()}
    query = select(profiles.c.name, profiles.c.version).where(profiles.c.activated_at.is_not(None))
    query = query.order_by(profiles.c.activated_at, profiles.c.version)
    return active | {row.name: row.version for row in await connection.execute(query)}


async def list_versions(connection: AsyncConnection) -> tuple[ProfileVersion, ...]:
    """Every version of every profile, by name and number."""
    active = await active_versions(connection)
    query = select(profiles)
    found = {
        (row.name, row.version): _version(row._mapping, active=active.get(row.name) == row.version)
        for row in await connection.execute(query)
    }
    for (name, number), profile in SHIPPED.items():
        if (name, number) not in found:
            found[name, number] = ProfileVersion(
                name=name,
                version=number,
                title=profile.title,
                digest=digest_of(profile),
                shipped=True,
                active=active[name] == number,
            )
    return tuple(found[key] for key in sorted(found))


def key_text(profile: AssayProfile) -> str:
    """Name and version in one word: `hi-96@1001`."""
    return f"{profile.name}@{profile.version}"


def _is(key: AssayKey) -> Any:
    return (profiles.c.name == key[0]) & (profiles.c.version == key[1])


def _row(profile: AssayProfile, actor: Actor, now: datetime) -> dict[str, Any]:
    return {
        "name": profile.name,
        "version": profile.version,
        "document": msgspec.to_builtins(profile),
        "digest": digest_of(profile),
        "created_at": now,
        "created_by": actor.id,
    }


def _version(row: Mapping[Any, Any], *, active: bool) -> ProfileVersion:
    key = row["name"], row["version"]
    return ProfileVersion(
        name=row["name"],
        version=row["version"],
        title=row["document"]["title"],
        digest=row["digest"],
        shipped=shipped(key) is not None,
        active=active,
        created_at=row["created_at"],
        created_by=row["created_by"],
        activated_at=row.get("activated_at"),
        activated_by=row.get("activated_by"),
    )

"""The assay profiles that runs are interpreted by: the shipped ones, and the laboratory's own versions of them.

A version is never changed, and those of a laboratory are numbered from 1001, so that no release of Wellread ever
ships another profile under the number of one. Which version counts is the one that was activated last.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, TypeAlias

import msgspec
from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from central.tables import profiles
from protocol.assay import AssayProfile
from protocol.profiles import PROFILES

# Name and version of a profile.
AssayKey: TypeAlias = tuple[str, int]
Assays: TypeAlias = dict[AssayKey, AssayProfile]

FIRST_OWN_VERSION: Final = 1001


def shipped(key: AssayKey) -> AssayProfile | None:
    """The profile of this name and version that ships with Wellread."""
    profile = PROFILES.get(key[0])
    return profile if profile is not None and profile.version == key[1] else None


async def assays_of(connection: AsyncConnection, keys: Iterable[AssayKey]) -> Assays:
    """The profiles of these names and versions; LookupError names one that is neither shipped nor stored."""
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
        raise LookupError(f"no assay profile {name!r} version {version} here (expected one that runs were read by)")
    return found


@lru_cache(maxsize=256)
def _parsed(document: bytes) -> AssayProfile:
    return msgspec.json.decode(document, type=AssayProfile)

"""Which version of its profile a run that comes in is interpreted by, and what that makes of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from central.assays.registry import active_versions, assays_of
from protocol.assay import AssayProfile
from protocol.codec import decode_reading, decompress
from protocol.endpoint import RowEndpoint, seen_endpoints


class Interpreted(msgspec.Struct, frozen=True):
    """A run's titres by the version that counts: all `endpoints` as plain values, and what differs from its own."""

    assay_version: int
    endpoints: dict[str, Any]
    revised: dict[str, Any] | None


async def interpreted(connection: AsyncConnection, accepted: Sequence[Mapping[str, Any]]) -> list[Interpreted]:
    """For each of these rows of `runs`: by its own version where that is the active one, else worked out anew."""
    active = await active_versions(connection)
    keys = {(row["profile"], active.get(row["profile"], row["profile_version"])) for row in accepted}
    assays = await assays_of(connection, keys)
    return [_one(row, assays[row["profile"], active.get(row["profile"], row["profile_version"])]) for row in accepted]


def _one(row: Mapping[str, Any], assay: AssayProfile) -> Interpreted:
    if assay.version == row["profile_version"]:
        return Interpreted(assay.version, row["endpoints"], None)
    reading = decode_reading(decompress(row["document"]))
    endpoints = seen_endpoints(reading.plate, reading.wells, assay)
    return Interpreted(assay.version, msgspec.to_builtins(endpoints), revised(row["endpoints"], endpoints))


def revised(own: Mapping[str, Any], endpoints: Mapping[str, RowEndpoint]) -> dict[str, Any] | None:
    """Rows whose endpoint is another than the run's own, as stored; a row that is gone is None. None: all the same."""
    before = msgspec.convert(own, dict[str, RowEndpoint])
    found = {row: msgspec.to_builtins(endpoint) for row, endpoint in endpoints.items() if before.get(row) != endpoint}
    return found | dict.fromkeys(row for row in before if row not in endpoints) or None

"""The SELECTs that the API and the pages need, one function each; rows leave here as frozen structs.

Open a connection with `db.reading(engine)`; several queries on one connection see one moment (SQLite).
"""

from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from central.aggregate import Run
from protocol.messages import DeviceStatus, PlateReading


class RunPage(msgspec.Struct, frozen=True):
    """Some runs, newest first, with `current` set; `next_after` continues the list, None at its end."""

    runs: tuple[Run, ...]
    next_after: int | None


class RunDetail(msgspec.Struct, frozen=True):
    """One run with the reading as the device made it."""

    run: Run
    reading: PlateReading
    digest: str


class SubmissionRow(msgspec.Struct, frozen=True):
    """One submission in the list: its tests, plates and runs."""

    submission: str
    tests: tuple[str, ...]
    plates: int
    runs: int
    last_received_at: datetime


class ImageRow(msgspec.Struct, frozen=True):
    """A stored picture."""

    sha256: str
    bytes: int
    media_type: str
    stored_at: datetime
    device_id: str


class DeviceRow(msgspec.Struct, frozen=True):
    """A device as central knows it."""

    id: str
    name: str
    enrolled_at: datetime
    revoked_at: datetime | None
    status: DeviceStatus | None
    status_at: datetime | None
    runs: int


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that could not be accepted; its bytes stay in the database."""

    number: int
    received_at: datetime
    topic: str
    device_id: str | None
    code: str
    detail: str
    digest: str
    times: int
    bytes: int


class Counts(msgspec.Struct, frozen=True):
    """How much there is."""

    runs: int
    devices: int
    images: int
    dead_letters: int
    users: int


async def list_runs(
    connection: AsyncConnection,
    *,
    after: int | None = None,
    limit: int = 50,
    submission: str | None = None,
    test: str | None = None,
    device: str | None = None,
) -> RunPage:
    """Runs by number, newest first; `after` is the `next_after` of the page before."""
    raise NotImplementedError


async def get_run(connection: AsyncConnection, run_id: str) -> RunDetail | None:
    """One run by its reading's id."""
    raise NotImplementedError


async def list_submissions(connection: AsyncConnection, *, limit: int = 200) -> tuple[SubmissionRow, ...]:
    """Submissions, the one with the newest run first."""
    raise NotImplementedError


async def submission_runs(connection: AsyncConnection, submission: str, test: str | None = None) -> tuple[Run, ...]:
    """Every run of a submission (and test), newest first, with `current` set: what `aggregate.summarise` takes."""
    raise NotImplementedError


async def get_image(connection: AsyncConnection, sha256: str) -> ImageRow | None:
    """The row of a stored picture."""
    raise NotImplementedError


async def picture_of_device(connection: AsyncConnection, sha256: str, device_id: str) -> int | None:
    """Size in bytes of a picture that a run of this device names; None where none does (nobody asked for it)."""
    raise NotImplementedError


async def list_devices(connection: AsyncConnection) -> tuple[DeviceRow, ...]:
    """Every device, by name."""
    raise NotImplementedError


async def list_dead_letters(
    connection: AsyncConnection, *, after: int | None = None, limit: int = 50
) -> tuple[DeadLetter, ...]:
    """Dead letters, newest first; `after` is the number of the last one seen."""
    raise NotImplementedError


async def counts(connection: AsyncConnection) -> Counts:
    """How much there is of everything."""
    raise NotImplementedError

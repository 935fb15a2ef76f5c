"""The pages: each reads what it shows in one transaction and fills one template."""

from typing import Any, Final

from litestar import get
from litestar.response import Template

from central.api.devices import DeviceOut, device_out
from central.api.paths import (
    After,
    DeviceFilter,
    DevicePath,
    SubmissionFilter,
    TestFilter,
    missing,
    with_query,
)
from central.dashboard import bench
from central.dashboard.words import run_line
from central.db import reading
from central.fleet.queries import list_dead_letters, list_devices
from central.parts import CentralRequest, Parts, Wired, person_of
from central.people.permissions import VIEWERS
from central.results.aggregate import Statistics, display
from central.results.queries import list_runs

PAGE_SIZE: Final = 50
LETTERS_SHOWN: Final = 20


def frame(request: CentralRequest, parts: Parts, here: str) -> dict[str, Any]:
    """What every page shows around its content: who is signed in, where we are."""
    person = person_of(request)
    token = "" if person.session is None else parts.people.key.csrf_token(person.session.token_id)
    said = {"person": person, "csrf_token": token, "here": here, "admin": person.role == "admin"}
    return said | {"open_notices": parts.notices.of(person.sites)}


def page(request: CentralRequest, parts: Parts, template: str, here: str, **values: Any) -> Template:
    """A page for the signed-in person."""
    return Template(template, context=frame(request, parts, here) | values)


@get("/", access=VIEWERS, include_in_schema=False)
async def get_runs_page(
    *,
    request: CentralRequest,
    parts: Wired,
    after: After = None,
    submission: SubmissionFilter = None,
    test: TestFilter = None,
    device: DeviceFilter = None,
) -> Template:
    """Runs, newest first; the first page updates itself."""
    filters = {"submission": submission, "test": test, "device": device}
    async with reading(parts.engine) as connection:
        found = await list_runs(
            connection,
            after=after,
            limit=PAGE_SIZE,
            submission=submission,
            test=test,
            device=device,
            sites=person_of(request).sites,
        )
    following = None if found.next_after is None else with_query("/", after=found.next_after, **filters)
    return page(
        request,
        parts,
        "runs.html",
        "/",
        runs=tuple(run_line(run) for run in found.runs),
        filters={name: value for name, value in filters.items() if value is not None},
        live=after is None,
        last_number=found.runs[0].number if found.runs else 0,
        first_link=with_query("/", **filters),
        next_link=following,
    )


def figures(statistics: Statistics | None) -> tuple[tuple[str, str], ...]:
    """Statistics as people read them, rounded half up."""
    if statistics is None:
        return ()
    return (
        ("Sera", str(statistics.n)),
        ("Mean log₂", display(statistics.mean_log2, 2)),
        ("GMT", display(statistics.gmt, 2)),
        ("SD", display(statistics.sd_log2, 2)),
        ("CV %", display(statistics.cv_percent, 2)),
        ("Lowest", str(statistics.minimum)),
        ("Median", display(statistics.median, 1)),
        ("Highest", str(statistics.maximum)),
        ("At or above cut-off", f"{statistics.positive} ({display(100 * statistics.positive_share, 1)} %)"),
    )


@get("/devices", access=VIEWERS, include_in_schema=False)
async def get_devices_page(request: CentralRequest, parts: Wired) -> Template:
    """Devices, and a form that claims a new one."""
    return await devices_page(request, parts)


async def devices_page(request: CentralRequest, parts: Parts, **values: Any) -> Template:
    """The devices page, with a fresh claim code or a message where there is one."""
    async with reading(parts.engine) as connection:
        rows = await list_devices(connection, sites=person_of(request).sites)
    devices = tuple(_line(device_out(row), parts) for row in rows)
    blank = {"claim": None, "message": None, "public_url": parts.public_url}
    return page(request, parts, "devices.html", "/devices", devices=devices, **(blank | values))


def _line(device: DeviceOut, parts: Parts) -> dict[str, Any]:
    return {"device": device, "backlog": bench.backlog(device, parts.now()), "remarks": bench.remarks(device)}


@get("/devices/{device_id:str}", access=VIEWERS, include_in_schema=False)
async def get_device_page(request: CentralRequest, parts: Wired, device_id: DevicePath) -> Template:
    """One device: what to look at, what it said last, its outboxes; for administrators what was refused of it."""
    admin = person_of(request).role == "admin"
    async with reading(parts.engine) as connection:
        rows = await list_devices(connection, device_id, sites=person_of(request).sites)
        letters = await list_dead_letters(connection, device=device_id, limit=LETTERS_SHOWN) if admin else ()
    if not rows:
        raise missing("device", device_id)
    device = device_out(rows[0])
    return page(
        request,
        parts,
        "device.html",
        "/devices",
        device=device,
        remarks=bench.remarks(device),
        facts=bench.facts(device, parts.now()),
        letters=letters,
    )

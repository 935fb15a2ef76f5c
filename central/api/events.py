"""`/api/v1/events`: new runs as server-sent events; `Last-Event-ID` resumes where a listener stopped."""

from collections.abc import Sequence
from typing import Annotated, Final

from litestar import get
from litestar.params import HeaderParameter
from litestar.response import ServerSentEvent

from central.db import reading
from central.parts import CentralRequest, Wired, caller_sites
from central.people.access import still_may
from central.people.permissions import VIEWERS
from central.people.sites import Sites
from central.results.live import RunEvent, TooManyListenersError
from central.results.queries import list_runs
from central.web.problems import ProblemError

# Who was away for longer reloads the list instead.
MAX_RESUMED: Final = 500

LastEventId = Annotated[
    str | None, HeaderParameter(name="last-event-id", pattern=r"^\d{1,18}$", description="Number of the last run seen.")
]


@get(
    "/events",
    access=VIEWERS,
    summary="New runs as they are accepted",
    description="`text/event-stream`: events `run` whose id is the run's number and whose data names the plate; "
    "`historical`: the run waited at its device, and is no news.",
)
async def get_events(request: CentralRequest, parts: Wired, last_event_id: LastEventId = None) -> ServerSentEvent:
    """A stream of runs from now on, or from the last one that the listener saw; it ends soon after the sign-in."""
    sites = caller_sites(request)
    last = await _newest(parts, sites) if last_event_id is None else int(last_event_id)

    async def after(number: int) -> Sequence[RunEvent]:
        return await runs_after(parts, number, sites)

    try:
        return ServerSentEvent(parts.live.open(last, after, still=lambda: still_may(request, VIEWERS)))
    except TooManyListenersError as error:
        raise ProblemError(503, str(error), {"retry-after": "30"}) from error


async def runs_after(parts: Wired, number: int, sites: Sites) -> list[RunEvent]:
    """The runs accepted after this one, oldest first; the newest `MAX_RESUMED` of them."""
    found: list[RunEvent] = []
    after: int | None = None
    async with reading(parts.engine) as connection:
        while len(found) < MAX_RESUMED:
            page = await list_runs(connection, after=after, limit=50, sites=sites)
            fresh = [run for run in page.runs if run.number > number]
            found += [RunEvent(*(getattr(run, name) for name in RunEvent.__struct_fields__)) for run in fresh]
            after = page.next_after
            if len(fresh) < len(page.runs) or after is None:
                break
    return found[::-1]


async def _newest(parts: Wired, sites: Sites) -> int:
    async with reading(parts.engine) as connection:
        page = await list_runs(connection, limit=1, sites=sites)
    return page.runs[0].number if page.runs else 0

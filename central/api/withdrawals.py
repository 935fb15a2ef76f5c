"""`/api/v1/withdrawals`: what was sent and is void since, until the other side has taken it back."""

from typing import Annotated, Final

import msgspec
from litestar import Response, get, post
from litestar.params import PathParameter, QueryParameter

from central.api.paths import missing, with_query
from central.db import reading
from central.deliveries.queries import WithdrawalRow, list_withdrawals
from central.deliveries.withdrawing import UnknownWithdrawalError, settle
from central.parts import CentralRequest, Parts, Wired, actor_of, caller_sites
from central.people.permissions import OPERATORS, VIEWERS

_ID: Final = r"^[0-9a-f-]{36}$"
IdPath = Annotated[str, PathParameter(pattern=_ID, description="Its id.")]
AfterId = Annotated[str | None, QueryParameter(pattern=_ID, description="The `id` of the last one of the page before.")]
Limit = Annotated[int, QueryParameter(ge=1, le=200, description="How many at most.")]
Settled = Annotated[bool, QueryParameter(description="Those that are settled, instead of those that are not.")]


class WithdrawalsOut(msgspec.Struct, frozen=True):
    """A page of them, by id."""

    items: tuple[WithdrawalRow, ...]
    next: str | None


@get(
    "/withdrawals",
    access=VIEWERS.with_key("deliveries:read"),
    summary="List withdrawals",
    description="Plates that are void since a file with their results went out, and who is told by which file.",
)
async def get_withdrawals(
    *, request: CentralRequest, parts: Wired, settled: Settled = False, after: AfterId = None, limit: Limit = 50
) -> Response[WithdrawalsOut]:
    """What somebody ought to take back."""
    async with reading(parts.engine) as connection:
        sites = caller_sites(request)
        found = await list_withdrawals(connection, sites, settled=settled, after=after, limit=limit + 1)
    following = None
    if len(found) > limit:
        settled_too = "true" if settled else None
        following = with_query("/api/v1/withdrawals", settled=settled_too, after=found[limit - 1].id, limit=limit)
    links = {"link": f'<{following}>; rel="next"'} if following else {}
    return Response(WithdrawalsOut(found[:limit], following), headers=links)


@post(
    "/withdrawals/{withdrawal_id:str}/settle",
    access=OPERATORS.with_key("deliveries:write"),
    status_code=204,
    summary="Say that a result was taken back",
    description="The other side counts it no more. Once or again.",
)
async def post_settle(request: CentralRequest, parts: Wired, withdrawal_id: IdPath) -> None:
    """It is over."""
    await settle_withdrawal(request, parts, withdrawal_id)


async def settle_withdrawal(request: CentralRequest, parts: Parts, withdrawal_id: str) -> None:
    """Settle one that the caller sees; 404 where there is none."""
    try:
        await settle(parts.engine, withdrawal_id, sites=caller_sites(request), actor=actor_of(request), now=parts.now())
    except UnknownWithdrawalError as error:
        raise missing("withdrawal", withdrawal_id) from error


HANDLERS: Final = (get_withdrawals, post_settle)

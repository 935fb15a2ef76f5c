"""The pages of deliveries: what goes where, how far each file has come, and what to do about one that failed."""

from typing import Any, Final

import msgspec
from litestar import get, post
from litestar.response import Redirect, Template

from central.api.deliveries import Before, RuleFilter, StateFilter, cursor_of, next_cursor
from central.api.delivery_rules import IdPath
from central.api.paths import missing, with_query
from central.api.withdrawals import settle_withdrawal
from central.dashboard.delivery_rules import KINDS
from central.dashboard.fields import may
from central.dashboard.pages import page
from central.db import reading
from central.deliveries import editing
from central.deliveries.editing import UnknownError
from central.deliveries.queries import (
    awaited_by,
    differences_of,
    get_delivery,
    list_deliveries,
    list_rules,
    list_withdrawals,
    log_of,
)
from central.deliveries.states import DeliveryState, DeliveryStateError
from central.parts import CentralRequest, Parts, Wired, actor_of, caller_sites
from central.people.permissions import OPERATORS, VIEWERS
from central.web.problems import ProblemError

PAGE_SIZE: Final = 50
WITHDRAWN_SHOWN: Final = 100
STATE_WORDS: Final[dict[str, tuple[str, str]]] = {
    "pending": ("", "its file is made next"),
    "generated": ("", "its file is made, and is placed next"),
    "placing": ("", "its file is being placed"),
    "placed": ("warn", "placed; nobody has taken it yet"),
    "acknowledged": ("good", "arrived"),
    "failed": ("bad", "given up: see what to do"),
    "superseded": ("", "a newer one stands for it"),
}


@get("/deliveries", access=VIEWERS, include_in_schema=False)
async def get_deliveries_page(
    *, request: CentralRequest, parts: Wired, at: StateFilter = None, rule: RuleFilter = None, before: Before = None
) -> Template:
    """Deliveries, newest first, of one rule where one is named; and the rules."""
    sites = caller_sites(request)
    wanted = None if at is None else at.value
    async with reading(parts.engine) as connection:
        seen = None if before is None else cursor_of(before)
        found = await list_deliveries(connection, sites, state=wanted, rule_id=rule, before=seen, limit=PAGE_SIZE)
        rules = await list_rules(connection, sites)
        withdrawn = await list_withdrawals(connection, sites, limit=WITHDRAWN_SHOWN)
    following = None
    if len(found) == PAGE_SIZE:
        following = with_query("/deliveries", state=wanted, rule=rule, before=next_cursor(found))
    return page(
        request,
        parts,
        "deliveries.html",
        "/deliveries",
        deliveries=found,
        rules={each.id: each for each in rules},
        withdrawn=withdrawn,
        operator=may(request, "operator"),
        kinds=KINDS,
        words=STATE_WORDS,
        states=tuple(DeliveryState),
        state=wanted,
        rule=rule,
        next_link=following,
    )


@get("/deliveries/{delivery_id:str}", access=VIEWERS, include_in_schema=False)
async def get_delivery_page(request: CentralRequest, parts: Wired, delivery_id: IdPath) -> Template:
    """One delivery: where it is, what happened, what was left out, and its file."""
    async with reading(parts.engine) as connection:
        found = await get_delivery(connection, delivery_id, caller_sites(request))
        if found is None:
            raise missing("delivery", delivery_id)
        lines = await log_of(connection, delivery_id)
        different = await differences_of(connection, delivery_id)
        awaited = await awaited_by(connection, found)
    words = STATE_WORDS[found.state]
    return page(
        request,
        parts,
        "delivery.html",
        "/deliveries",
        delivery=found,
        log=lines,
        awaited=awaited,
        words=words,
        differences=None if different is None else msgspec.structs.asdict(different),
    )


@post("/deliveries/{delivery_id:str}/acknowledge", access=OPERATORS, include_in_schema=False)
async def post_acknowledge_form(request: CentralRequest, parts: Wired, delivery_id: IdPath) -> Redirect:
    """It arrived: somebody looked."""
    return await _do(editing.acknowledge, request, parts, delivery_id)


@post("/deliveries/{delivery_id:str}/retry", access=OPERATORS, include_in_schema=False)
async def post_retry_form(request: CentralRequest, parts: Wired, delivery_id: IdPath) -> Redirect:
    """Again."""
    return await _do(editing.retry, request, parts, delivery_id)


@post("/deliveries/withdrawals/{withdrawal_id:str}/settle", access=OPERATORS, include_in_schema=False)
async def post_settle_form(request: CentralRequest, parts: Wired, withdrawal_id: IdPath) -> Redirect:
    """Whoever reads the file took it back."""
    await settle_withdrawal(request, parts, withdrawal_id)
    return Redirect("/deliveries", status_code=303)


async def _do(act: Any, request: CentralRequest, parts: Parts, delivery_id: str) -> Redirect:
    try:
        await act(parts.engine, delivery_id, sites=caller_sites(request), actor=actor_of(request), now=parts.now())
    except UnknownError as error:
        raise missing("delivery", delivery_id) from error
    except DeliveryStateError as error:
        raise ProblemError(409, str(error)) from error
    return Redirect(f"/deliveries/{delivery_id}", status_code=303)


HANDLERS: Final = (
    get_deliveries_page,
    get_delivery_page,
    post_acknowledge_form,
    post_retry_form,
    post_settle_form,
)

"""The pages of deliveries: what goes where, how far each file has come, and what to do about one that failed."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect, Template

from central.api.deliveries import Before, StateFilter, cursor_of, next_cursor
from central.api.delivery_rules import IdPath, RuleIn, wanted_of
from central.api.paths import missing, with_query
from central.dashboard.fields import FORM
from central.dashboard.pages import page
from central.db import reading
from central.deliveries import editing
from central.deliveries.dialect import DialectError, shipped
from central.deliveries.editing import UnknownError
from central.deliveries.places import PlaceError
from central.deliveries.queries import awaited_by, differences_of, get_delivery, list_deliveries, list_rules, log_of
from central.deliveries.states import DeliveryState, DeliveryStateError
from central.parts import CentralRequest, Parts, Wired, actor_of, caller_sites
from central.people.permissions import ADMINS, OPERATORS, VIEWERS
from central.people.sites import MAIN_SITE
from central.web.problems import ProblemError

PAGE_SIZE: Final = 50
STATE_WORDS: Final[dict[str, tuple[str, str]]] = {
    "pending": ("", "its file is made next"),
    "generated": ("", "its file is made, and is placed next"),
    "placing": ("", "its file is being placed"),
    "placed": ("warn", "placed; nobody has taken it yet"),
    "acknowledged": ("good", "arrived"),
    "failed": ("bad", "given up: see what to do"),
    "superseded": ("", "a newer one stands for it"),
}


class RuleForm(msgspec.Struct, frozen=True):
    """The form for a rule into a folder; other places are made by the API."""

    title: Annotated[str, msgspec.Meta(max_length=200)] = ""
    dialect: Annotated[str, msgspec.Meta(max_length=64)] = ""
    of: Annotated[str, msgspec.Meta(max_length=16)] = "test"
    path: Annotated[str, msgspec.Meta(max_length=500)] = ""


@get("/deliveries", access=VIEWERS, include_in_schema=False)
async def get_deliveries_page(
    *, request: CentralRequest, parts: Wired, at: StateFilter = None, before: Before = None
) -> Template:
    """Deliveries, newest first; for administrators the rules."""
    return await deliveries_page(request, parts, state=at, before=before)


async def deliveries_page(
    request: CentralRequest,
    parts: Parts,
    *,
    state: DeliveryState | None = None,
    before: str | None = None,
    message: str = "",
    status_code: int = 200,
) -> Template:
    """The page, with a message where a form could not be done."""
    sites = caller_sites(request)
    wanted = None if state is None else state.value
    async with reading(parts.engine) as connection:
        found = await list_deliveries(
            connection, sites, state=wanted, before=None if before is None else cursor_of(before), limit=PAGE_SIZE
        )
        rules = await list_rules(connection, sites)
    following = with_query("/deliveries", state=wanted, before=next_cursor(found)) if len(found) == PAGE_SIZE else None
    answer = page(
        request,
        parts,
        "deliveries.html",
        "/deliveries",
        deliveries=found,
        rules={rule.id: rule for rule in rules},
        dialects=shipped().values(),
        roots=parts.settings.delivery_roots,
        words=STATE_WORDS,
        states=tuple(DeliveryState),
        state=wanted,
        message=message,
        next_link=following,
    )
    answer.status_code = status_code
    return answer


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


@post("/deliveries/rules", access=ADMINS, include_in_schema=False)
async def post_rule_form(request: CentralRequest, parts: Wired, data: Annotated[RuleForm, FORM]) -> Response[Any]:
    """A rule into a folder, or the page again with what is wrong."""
    wanted = {"title": data.title, "dialect": data.dialect, "of": data.of}
    try:
        rule = msgspec.convert(wanted | {"target_kind": "folder", "target": {"path": data.path}}, RuleIn)
        await editing.add_rule(parts.desk, MAIN_SITE, wanted_of(rule), actor=actor_of(request), now=parts.now())
    except (msgspec.ValidationError, DialectError, PlaceError) as error:
        return await deliveries_page(request, parts, message=str(error), status_code=422)
    return Redirect("/deliveries", status_code=303)


@post("/deliveries/{delivery_id:str}/acknowledge", access=OPERATORS, include_in_schema=False)
async def post_acknowledge_form(request: CentralRequest, parts: Wired, delivery_id: IdPath) -> Redirect:
    """It arrived: somebody looked."""
    return await _do(editing.acknowledge, request, parts, delivery_id)


@post("/deliveries/{delivery_id:str}/retry", access=OPERATORS, include_in_schema=False)
async def post_retry_form(request: CentralRequest, parts: Wired, delivery_id: IdPath) -> Redirect:
    """Again."""
    return await _do(editing.retry, request, parts, delivery_id)


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
    post_rule_form,
    post_acknowledge_form,
    post_retry_form,
)

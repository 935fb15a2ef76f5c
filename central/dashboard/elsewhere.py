"""Signing in at the laboratory's OpenID Connect provider: there and back again.

Both ways lead over a page of ours that goes on by itself. On the way there, because forms may lead nowhere else (the
content policy's `form-action`); on the way back, because a browser sends no `SameSite=Strict` cookie where another
site's page led it.
"""

from typing import Annotated, Any, Final

import msgspec
import structlog
from litestar import Response, get, post
from litestar.params import QueryParameter
from litestar.response import Template

from central.audit.chain import Actor
from central.dashboard.fields import FORM
from central.dashboard.sign_in import drop_cookie, keep_session, own_page, sign_in_page
from central.parts import CentralRequest, Parts, Wired, origin_of
from central.people import flow, identities
from central.people.callers import CodeNeededError, Person
from central.people.links import LinkError
from central.people.oidc import Provider, ProviderError
from central.people.permissions import ANYONE
from central.web.problems import ProblemError

log: Final = structlog.get_logger(__name__)

ANSWER: Final = "/sign-in/elsewhere/answer"
# Longer addresses do not fit into a cookie.
_LONGEST_PAGE: Final = 500
_STALE: Final = "That took too long, or was begun in another window. Sign in again."
_UNKNOWN: Final = "Nobody here is linked to that account. Ask an administrator for a link, and open it first."
_FAILED: Final = "Signing in there did not work. Try again, or ask an administrator."


class ElsewhereForm(msgspec.Struct, frozen=True):
    """Where to go afterwards; `link` is the code of an administrator's link that is being used."""

    next: Annotated[str, msgspec.Meta(max_length=2000)] = "/"
    link: Annotated[str, msgspec.Meta(max_length=100)] = ""


@post("/sign-in/elsewhere", access=ANYONE, include_in_schema=False, status_code=200)
async def post_elsewhere(request: CentralRequest, parts: Wired, data: Annotated[ElsewhereForm, FORM]) -> Template:
    """On to the provider; what we asked is remembered by this browser alone."""
    provider = _provider(parts)
    next_page = own_page(data.next)
    begun = flow.begin(next_page if len(next_page) <= _LONGEST_PAGE else "/", data.link, parts.now())
    if isinstance(request.user, Person):
        begun = msgspec.structs.replace(begun, person_id=request.user.id, session_id=request.user.session_id)
    try:
        address = await provider.address(begun, _redirect_uri(parts))
    except ProviderError as error:
        log.warning("sign_in_elsewhere_failed", reason=str(error))
        return sign_in_page(parts, data.next, message=_FAILED, status_code=502)
    answer = Template("onwards.html", context={"to": address, "place": provider.title, "person": None})
    answer.set_cookie(
        key=_cookie(parts),
        value=flow.sealed(parts.people.seal, begun),
        max_age=int(flow.GOOD_FOR.total_seconds()),
        httponly=True,
        secure=parts.settings.secure_cookies,
        samesite="lax",
    )
    return answer


@get(ANSWER, access=ANYONE, include_in_schema=False)
async def get_answer(
    request: CentralRequest,
    parts: Wired,
    code: Annotated[str, QueryParameter(max_length=4000)] = "",
    answered_state: Annotated[str, QueryParameter(name="state", max_length=200)] = "",
    issuer: Annotated[str | None, QueryParameter(name="iss", max_length=500)] = None,
) -> Response[Any]:
    """The provider's answer: a session for who is linked, or the sign-in page with what is wrong."""
    _provider(parts)
    asked = flow.opened(parts.people.seal, request.cookies.get(_cookie(parts), ""), parts.now())
    if asked is None or not asked.answers(answered_state) or not await flow.use_up(parts.engine, asked):
        answer: Response[Any] = sign_in_page(parts, "/", message=_STALE, status_code=401)
    else:
        answer = await _signed_in(request, parts, asked, code, issuer)
    drop_cookie(parts, answer, _cookie(parts))
    return answer


async def _signed_in(
    request: CentralRequest, parts: Parts, asked: flow.Flow, code: str, issuer: str | None
) -> Response[Any]:
    provider, origin = _provider(parts), origin_of(request)
    try:
        identity = await provider.identity(code, asked, _redirect_uri(parts), issuer=issuer)
        row = await identities.whom(parts.engine, identity, link=asked.link, origin=origin, now=parts.now())
        session = await parts.people.sign_in_elsewhere(row, origin)
    except CodeNeededError as needed:
        return sign_in_page(parts, asked.next_page, ticket=needed.ticket)
    except ProviderError as error:
        log.warning("sign_in_elsewhere_failed", reason=str(error))
        return sign_in_page(parts, asked.next_page, message=_FAILED, status_code=401)
    except LinkError as error:
        return sign_in_page(parts, asked.next_page, message=str(error), status_code=401)
    except identities.NotLinkedError as error:
        log.warning("sign_in_elsewhere_refused", reason=str(error))
        await parts.people.note_failure(None, "oidc", origin)
        return sign_in_page(parts, asked.next_page, message=_UNKNOWN, status_code=401)
    if asked.session_id:
        actor = Actor("person", asked.person_id, origin.address, origin.request_id)
        await parts.people.end_sessions(asked.person_id, actor, asked.session_id)
    answer = Template("onwards.html", context={"to": asked.next_page, "place": "Wellread", "person": None})
    keep_session(parts, answer, session)
    return answer


def _provider(parts: Parts) -> Provider:
    if parts.provider is None:
        raise ProblemError(404, "people sign in here with name and password only")
    return parts.provider


def _redirect_uri(parts: Parts) -> str:
    return f"{parts.public_url}{ANSWER}"


def _cookie(parts: Parts) -> str:
    return "__Host-wellread_elsewhere" if parts.settings.secure_cookies else "wellread_elsewhere"


HANDLERS: Final = (post_elsewhere, get_answer)

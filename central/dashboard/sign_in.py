"""Signing in and out on the pages: name and password, then the one-time code where the person has one."""

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import QueryParameter
from litestar.response import Redirect, Template

from central.api.forgotten import letter_for
from central.audit.chain import Actor
from central.dashboard.fields import FORM
from central.parts import CentralRequest, Parts, Wired, actor_of, origin_of, person_of
from central.people.access import session_cookie
from central.people.auth import SignedIn
from central.people.callers import CodeNeededError, NotSignedInError, Person, TooManyTriesError
from central.people.permissions import ANYONE, VIEWERS
from central.people.tokens import SESSION_LIFE


class SignInForm(msgspec.Struct, frozen=True):
    """The fields of the sign-in page; `ticket` and `code` are those of its second step."""

    name: Annotated[str, msgspec.Meta(max_length=64)] = ""
    password: Annotated[str, msgspec.Meta(max_length=256)] = ""
    ticket: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    code: Annotated[str, msgspec.Meta(max_length=16)] = ""
    next: Annotated[str, msgspec.Meta(max_length=2000)] = "/"


class ForgottenForm(msgspec.Struct, frozen=True):
    """Who forgot a password."""

    name: Annotated[str, msgspec.Meta(max_length=64)] = ""


@get("/sign-in", access=ANYONE, include_in_schema=False)
async def get_sign_in(
    parts: Wired, next_page: Annotated[str, QueryParameter(name="next", max_length=2000)] = "/"
) -> Template:
    """The sign-in page."""
    return sign_in_page(parts, next_page)


@post("/sign-in", access=ANYONE, include_in_schema=False)
async def post_sign_in(request: CentralRequest, parts: Wired, data: Annotated[SignInForm, FORM]) -> Response[Any]:
    """A session cookie and the page that was asked for, or the form again: with a message, or asking for the code."""
    try:
        signed_in = await _signed_in(request, parts, data)
    except CodeNeededError as needed:
        return sign_in_page(parts, data.next, data.name, ticket=needed.ticket)
    except NotSignedInError as error:
        if data.ticket:
            good = parts.people.key.read(data.ticket, "ticket", parts.now()) is not None
            return sign_in_page(parts, data.next, data.name, str(error), 401, ticket=data.ticket if good else "")
        return sign_in_page(parts, data.next, data.name, "The name or the password is wrong.", 401)
    except TooManyTriesError as error:
        wait = f"Too many failed sign-ins. Try again in {error.wait_s:.0f} seconds."
        return sign_in_page(parts, data.next, data.name, wait, 429)
    await leave_before(request, parts)
    return with_session(parts, signed_in, own_page(data.next))


async def leave_before(request: CentralRequest, parts: Parts) -> None:
    """End the session that this browser had until now: nobody could end it from here any more."""
    person = request.user
    if isinstance(person, Person):
        await parts.people.sign_out(person, Actor("person", person.id, origin_of(request).address))


async def _signed_in(request: CentralRequest, parts: Parts, data: SignInForm) -> SignedIn:
    origin = origin_of(request)
    if data.ticket:
        return await parts.people.sign_in_with_code(ticket=data.ticket, code=data.code, kind="pages", origin=origin)
    return await parts.people.sign_in(name=data.name, password=data.password, kind="pages", origin=origin)


@get("/forgotten", access=ANYONE, include_in_schema=False)
async def get_forgotten(parts: Wired) -> Template:
    """A form for a name; or whom to ask, where no letters are sent."""
    return _forgotten_page(parts)


@post("/forgotten", access=ANYONE, include_in_schema=False, status_code=200)
async def post_forgotten_form(request: CentralRequest, parts: Wired, data: Annotated[ForgottenForm, FORM]) -> Template:
    """The same page for every name; what is done about it comes after the answer."""
    if parts.mailer is None:
        return _forgotten_page(parts)
    answer = _forgotten_page(parts, asked=True)
    answer.background = letter_for(request, parts, data.name)
    return answer


def _forgotten_page(parts: Parts, *, asked: bool = False) -> Template:
    return Template("forgotten.html", context={"letters": parts.mailer is not None, "asked": asked, "person": None})


@post("/sign-out", access=VIEWERS, include_in_schema=False)
async def post_sign_out(request: CentralRequest, parts: Wired) -> Redirect:
    """End this session and no other."""
    await parts.people.sign_out(person_of(request), actor_of(request))
    return signed_out(parts)


def with_session(parts: Parts, signed_in: SignedIn, page: str) -> Redirect:
    """Go to this page with the session's cookie."""
    answer = Redirect(page, status_code=303)
    keep_session(parts, answer, signed_in)
    return answer


def keep_session(parts: Parts, answer: Response[Any], signed_in: SignedIn) -> None:
    """Give the answer the session's cookie."""
    secure = parts.settings.secure_cookies
    answer.set_cookie(
        key=session_cookie(secure),
        value=signed_in.token,
        max_age=int(SESSION_LIFE.total_seconds()),
        httponly=True,
        secure=secure,
        samesite="strict",
    )


def signed_out(parts: Parts) -> Redirect:
    """Go to the sign-in page without a cookie, and with nothing of ours kept in the browser."""
    answer = Redirect("/sign-in", status_code=303, headers={"clear-site-data": '"cache", "storage"'})
    drop_cookie(parts, answer, session_cookie(parts.settings.secure_cookies))
    return answer


def drop_cookie(parts: Parts, answer: Response[Any], name: str) -> None:
    """Take a cookie away. A browser ignores what a `__Host-` cookie is set to, and so its end, without `Secure`."""
    secure = parts.settings.secure_cookies
    answer.set_cookie(key=name, value="", max_age=0, httponly=True, secure=secure, samesite="strict")


def own_page(address: str) -> str:
    """The address if it is a path of ours, else the first page: nobody is sent elsewhere after signing in."""
    plain = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if plain and "\\" not in address else "/"


def sign_in_page(
    parts: Parts, next_page: str, name: str = "", message: str = "", status_code: int = 200, *, ticket: str = ""
) -> Template:
    """The form; with a ticket it asks for the one-time code only."""
    context = {"next": own_page(next_page), "name": name, "message": message, "ticket": ticket, "person": None}
    context["elsewhere"] = "" if parts.provider is None else parts.provider.title
    return Template("sign-in.html", context=context, status_code=status_code)

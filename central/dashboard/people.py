"""A person's own pages: joining by a link, where somebody is signed in."""

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import PathParameter
from litestar.response import Redirect, Template

from central.api.sessions import SessionPath, password_by_link, sessions_of
from central.dashboard.pages import page
from central.dashboard.sign_in import FORM, signed_out
from central.db import reading
from central.parts import CentralRequest, Parts, Wired, actor_of, person_of
from central.people.links import LinkError, whose_link
from central.people.permissions import ANYONE, VIEWERS
from central.web.problems import ProblemError

LinkPath = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_-]{43}$", description="A one-time link's code.")]


class NewPasswordForm(msgspec.Struct, frozen=True):
    """The field of the page behind a link."""

    new_password: Annotated[str, msgspec.Meta(max_length=256)] = ""


@get("/join/{code:str}", access=ANYONE, include_in_schema=False)
async def get_join(parts: Wired, code: LinkPath) -> Template:
    """A form for a password; looking at it uses nothing up."""
    return await _join_page(parts, code)


@post("/join/{code:str}", access=ANYONE, include_in_schema=False, status_code=200)
async def post_join(
    request: CentralRequest, parts: Wired, code: LinkPath, data: Annotated[NewPasswordForm, FORM]
) -> Response[Any]:
    """The password is set; then sign in. Or the form again, with what is wrong."""
    try:
        await password_by_link(request, parts, code, data.new_password)
    except ProblemError as error:
        return await _join_page(parts, code, error.detail, 422)
    return Redirect("/sign-in", status_code=303)


async def _join_page(parts: Parts, code: str, message: str = "", status_code: int = 200) -> Template:
    name = ""
    try:
        async with reading(parts.engine) as connection:
            name = (await whose_link(connection, code, parts.now())).name
    except LinkError as error:
        message, status_code = str(error), 404
    context = {"name": name, "code": code, "message": message, "person": None}
    return Template("join.html", context=context, status_code=status_code)


@get("/account", access=VIEWERS, include_in_schema=False)
async def get_account(request: CentralRequest, parts: Wired) -> Template:
    """Where the person is signed in."""
    sessions = await sessions_of(parts, person_of(request))
    return page(request, parts, "account.html", "/account", sessions=sessions)


@post("/account/sessions/{session_id:str}/end", access=VIEWERS, include_in_schema=False)
async def post_end_session(request: CentralRequest, parts: Wired, session_id: SessionPath) -> Redirect:
    """Sign out somewhere else; a session that is over already is as good."""
    await parts.people.end_sessions(person_of(request).id, actor_of(request), session_id)
    return Redirect("/account", status_code=303)


@post("/account/sessions/end", access=VIEWERS, include_in_schema=False)
async def post_end_sessions(request: CentralRequest, parts: Wired) -> Redirect:
    """Sign out everywhere."""
    await parts.people.end_sessions(person_of(request).id, actor_of(request))
    return signed_out(parts)


HANDLERS = (get_join, post_join, get_account, post_end_session, post_end_sessions)

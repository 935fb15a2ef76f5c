"""A person's own pages: joining by a link, password, one-time codes, where somebody is signed in."""

from typing import Annotated, Any

import msgspec
import segno
from litestar import Response, get, post
from litestar.params import PathParameter
from litestar.response import Redirect, Template

from central.api.sessions import (
    PasswordIn,
    ProofIn,
    SecretOut,
    SessionPath,
    confirm_code,
    new_password,
    new_secret,
    password_by_link,
    remove_codes,
    sessions_of,
)
from central.dashboard.fields import FORM
from central.dashboard.pages import page
from central.dashboard.sign_in import signed_out
from central.db import reading
from central.parts import CentralRequest, Parts, Wired, actor_of, person_of
from central.people.links import LinkError, whose_link
from central.people.permissions import ANYONE, VIEWERS
from central.web.problems import ProblemError

LinkPath = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_-]{43}$", description="A one-time link's code.")]


class NewPasswordForm(msgspec.Struct, frozen=True):
    """The field of the page behind a link."""

    new_password: Annotated[str, msgspec.Meta(max_length=256)] = ""


class PasswordForm(msgspec.Struct, frozen=True):
    """The old password (and code), and the new."""

    password: Annotated[str, msgspec.Meta(max_length=256)] = ""
    new_password: Annotated[str, msgspec.Meta(max_length=256)] = ""
    code: Annotated[str, msgspec.Meta(max_length=16)] = ""


class ProofForm(msgspec.Struct, frozen=True):
    """Who it is, once more."""

    password: Annotated[str, msgspec.Meta(max_length=256)] = ""
    code: Annotated[str, msgspec.Meta(max_length=16)] = ""


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
    context["elsewhere"] = "" if parts.provider is None else parts.provider.title
    return Template("join.html", context=context, status_code=status_code)


@get("/account", access=VIEWERS, include_in_schema=False)
async def get_account(request: CentralRequest, parts: Wired) -> Template:
    """The person's password, codes, and where they are signed in."""
    return await _account_page(request, parts)


async def _account_page(
    request: CentralRequest, parts: Parts, secret: SecretOut | None = None, message: str = "", status_code: int = 200
) -> Template:
    sessions = await sessions_of(parts, person_of(request))
    picture = "" if secret is None else _picture(secret.link)
    answer = page(
        request, parts, "account.html", "/account",
        sessions=sessions, secret=secret, picture=picture, message=message,
    )  # fmt: skip
    answer.status_code = status_code
    return answer


def _picture(link: str) -> str:
    """The link as a QR code for a telephone's camera, dark on light also where the page is dark: a `data:` address."""
    return segno.make(link, error="m", micro=False).svg_data_uri(scale=4, border=4, dark="#000", light="#fff")


@post("/account/password", access=VIEWERS, include_in_schema=False)
async def post_password_form(
    request: CentralRequest, parts: Wired, data: Annotated[PasswordForm, FORM]
) -> Response[Any]:
    """A new password, and sign in again; or the page with what is wrong."""
    try:
        await new_password(request, parts, PasswordIn(data.password, data.new_password, data.code or None))
    except ProblemError as error:
        return await _account_page(request, parts, message=error.detail, status_code=422)
    return signed_out(parts)


@post("/account/codes", access=VIEWERS, include_in_schema=False, status_code=200)
async def post_codes_form(request: CentralRequest, parts: Wired, data: Annotated[ProofForm, FORM]) -> Template:
    """The secret for an app, shown once."""
    try:
        secret = await new_secret(request, parts, ProofIn(data.password, data.code or None))
    except ProblemError as error:
        return await _account_page(request, parts, message=error.detail, status_code=422)
    return await _account_page(request, parts, secret)


@post("/account/codes/confirm", access=VIEWERS, include_in_schema=False)
async def post_confirm_form(request: CentralRequest, parts: Wired, data: Annotated[ProofForm, FORM]) -> Response[Any]:
    """From now on a code is asked for."""
    try:
        await confirm_code(request, parts, data.code)
    except ProblemError as error:
        return await _account_page(request, parts, message=error.detail, status_code=422)
    return Redirect("/account", status_code=303)


@post("/account/codes/remove", access=VIEWERS, include_in_schema=False)
async def post_remove_form(request: CentralRequest, parts: Wired, data: Annotated[ProofForm, FORM]) -> Response[Any]:
    """No code is asked for any more; sign in again."""
    try:
        await remove_codes(request, parts, ProofIn(data.password, data.code or None))
    except ProblemError as error:
        return await _account_page(request, parts, message=error.detail, status_code=422)
    return signed_out(parts)


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


HANDLERS = (
    get_join,
    post_join,
    get_account,
    post_password_form,
    post_codes_form,
    post_confirm_form,
    post_remove_form,
    post_end_session,
    post_end_sessions,
)

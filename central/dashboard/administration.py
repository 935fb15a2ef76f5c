"""The pages of administrators: who may sign in, machines' keys, laboratories. A link or a key is shown once."""

from datetime import UTC, datetime, time
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect, Template

from central.api.keys import KeyIn, KeyPath, new_key
from central.api.paths import missing
from central.api.sites import SiteChangeIn, SiteIn, SitePath, changed_site, new_site
from central.api.users import ChangeIn, InviteIn, LinkOut, UserPath, change, invite, new_link
from central.dashboard.fields import FORM
from central.dashboard.pages import page
from central.db import reading
from central.parts import CentralRequest, Parts, Wired, actor_of, person_of
from central.people import identities, laboratories, second_factor
from central.people.directory import list_users
from central.people.keys import list_keys, revoke_key
from central.people.permissions import ADMINS, ROLES, SCOPES
from central.web.problems import ProblemError

_Text: Final = msgspec.Meta(max_length=500)


class InviteForm(msgspec.Struct, frozen=True):
    """Who is to join; `site_ids` separated by commas."""

    name: Annotated[str, _Text] = ""
    role: Annotated[str, _Text] = "viewer"
    site_ids: Annotated[str, _Text] = "main"
    email: Annotated[str, _Text] = ""


class UserForm(msgspec.Struct, frozen=True):
    """What is to be different of somebody, and why."""

    role: Annotated[str, _Text] = ""
    site_ids: Annotated[str, _Text] = ""
    disabled: Annotated[str, _Text] = ""
    reason: Annotated[str, _Text] = ""


class ReasonForm(msgspec.Struct, frozen=True):
    """Why."""

    reason: Annotated[str, _Text] = ""


class KeyForm(msgspec.Struct, frozen=True):
    """What a key is for; `scopes` one or more; until the end of a day, or for ever."""

    title: Annotated[str, _Text] = ""
    site_id: Annotated[str, _Text] = "main"
    scopes: list[str] | str = ""  # one that is ticked alone comes as text
    until: Annotated[str, _Text] = ""


class SiteForm(msgspec.Struct, frozen=True):
    """A new laboratory."""

    id: Annotated[str, _Text] = ""
    title: Annotated[str, _Text] = ""


class SiteChangeForm(msgspec.Struct, frozen=True):
    """What is to be different of one, with the revision that was seen."""

    revision: int
    title: Annotated[str, _Text] = ""
    unregistered: Annotated[str, _Text] = ""
    four_eyes: Annotated[str, _Text] = ""
    picture_days: Annotated[str, _Text] = ""
    reason: Annotated[str, _Text] = ""


@get("/people", access=ADMINS, include_in_schema=False)
async def get_people(request: CentralRequest, parts: Wired) -> Template:
    """Everybody, and a form for one more."""
    return await _people_page(request, parts)


async def _people_page(
    request: CentralRequest, parts: Parts, link: LinkOut | None = None, message: str = "", status_code: int = 200
) -> Template:
    async with reading(parts.engine) as connection:
        found = await list_users(connection)
    names = {row.id: row.name for row in found}
    answer = page(
        request, parts, "people.html", "/people",
        users=found, roles=ROLES, link=link, link_of=names.get(link.user_id, "") if link else "", message=message,
    )  # fmt: skip
    answer.status_code = status_code
    return answer


@post("/people", access=ADMINS, include_in_schema=False, status_code=200)
async def post_invite(request: CentralRequest, parts: Wired, data: Annotated[InviteForm, FORM]) -> Template:
    """The page with a link to hand over, shown once; or with what is wrong."""
    wanted = {"name": data.name, "role": data.role, "site_ids": _listed(data.site_ids), "email": data.email or None}
    try:
        link = await invite(request, parts, msgspec.convert(wanted, InviteIn))
    except (ProblemError, msgspec.ValidationError) as error:
        return await _people_page(request, parts, message=str(error), status_code=422)
    return await _people_page(request, parts, link)


@post("/people/{user_id:str}", access=ADMINS, include_in_schema=False)
async def post_user(
    request: CentralRequest, parts: Wired, user_id: UserPath, data: Annotated[UserForm, FORM]
) -> Response[Any]:
    """The account as it is wanted, or the page with what is wrong."""
    wanted: dict[str, Any] = {"role": data.role or None, "reason": data.reason or None}
    wanted["site_ids"] = _listed(data.site_ids) if data.site_ids else None
    wanted["disabled"] = {"yes": True, "no": False}.get(data.disabled)
    try:
        await change(request, parts, user_id, msgspec.convert(wanted, ChangeIn))
    except (ProblemError, msgspec.ValidationError) as error:
        return await _people_page(request, parts, message=str(error), status_code=422)
    return Redirect("/people", status_code=303)


@post("/people/{user_id:str}/link", access=ADMINS, include_in_schema=False, status_code=200)
async def post_user_link(request: CentralRequest, parts: Wired, user_id: UserPath) -> Template:
    """A link to set a password, shown once."""
    return await _people_page(request, parts, await new_link(request, parts, user_id))


@post("/people/{user_id:str}/codes/remove", access=ADMINS, include_in_schema=False)
async def post_user_codes(
    request: CentralRequest, parts: Wired, user_id: UserPath, data: Annotated[ReasonForm, FORM]
) -> Redirect:
    """For somebody whose telephone is gone."""
    await second_factor.remove(
        parts.engine, user_id, actor=actor_of(request), now=parts.now(), reason=data.reason or None
    )
    return Redirect("/people", status_code=303)


@post("/people/{user_id:str}/sign-out", access=ADMINS, include_in_schema=False)
async def post_user_sign_out(request: CentralRequest, parts: Wired, user_id: UserPath) -> Redirect:
    """Nowhere signed in any more; who was nowhere is as good."""
    await parts.people.end_sessions(user_id, actor_of(request))
    return Redirect("/people", status_code=303)


@post("/people/{user_id:str}/unlink", access=ADMINS, include_in_schema=False)
async def post_user_unlink(
    request: CentralRequest, parts: Wired, user_id: UserPath, data: Annotated[ReasonForm, FORM]
) -> Redirect:
    """No provider signs this person in any more."""
    await identities.unlink(parts.engine, user_id, actor=actor_of(request), now=parts.now(), reason=data.reason or None)
    return Redirect("/people", status_code=303)


@get("/keys", access=ADMINS, include_in_schema=False)
async def get_keys_page(request: CentralRequest, parts: Wired) -> Template:
    """Every key, and a form for one more."""
    return await _keys_page(request, parts)


async def _keys_page(
    request: CentralRequest, parts: Parts, key: str = "", message: str = "", status_code: int = 200
) -> Template:
    async with reading(parts.engine) as connection:
        found = await list_keys(connection)
        sites = await laboratories.list_sites(connection, person_of(request).sites)
    answer = page(
        request, parts, "keys.html", "/keys",
        keys=found, sites=sites, scopes=SCOPES, key=key, message=message, today=parts.now(),
    )  # fmt: skip
    answer.status_code = status_code
    return answer


@post("/keys", access=ADMINS, include_in_schema=False, status_code=200)
async def post_key_form(request: CentralRequest, parts: Wired, data: Annotated[KeyForm, FORM]) -> Template:
    """The page with the key, shown once; or with what is wrong."""
    try:
        until = datetime.combine(datetime.fromisoformat(data.until), time.max, UTC) if data.until else None
        scopes = [data.scopes] if isinstance(data.scopes, str) else data.scopes
        wanted = {"title": data.title, "site_id": data.site_id, "scopes": scopes, "expires_at": until}
        made = await new_key(request, parts, msgspec.convert(wanted, KeyIn))
    except (ProblemError, ValueError) as error:
        return await _keys_page(request, parts, message=str(error), status_code=422)
    return await _keys_page(request, parts, made.key)


@post("/keys/{key_id:str}/revoke", access=ADMINS, include_in_schema=False)
async def post_key_revoke_form(request: CentralRequest, parts: Wired, key_id: KeyPath) -> Redirect:
    """Nobody gets in with it any more."""
    if not await revoke_key(parts.engine, key_id, actor=actor_of(request), now=parts.now()):
        raise missing("key", key_id)
    return Redirect("/keys", status_code=303)


@get("/sites", access=ADMINS, include_in_schema=False)
async def get_sites_page(request: CentralRequest, parts: Wired) -> Template:
    """Every laboratory, and a form for one more."""
    return await _sites_page(request, parts)


async def _sites_page(request: CentralRequest, parts: Parts, message: str = "", status_code: int = 200) -> Template:
    async with reading(parts.engine) as connection:
        found = await laboratories.list_sites(connection, person_of(request).sites)
    answer = page(request, parts, "sites.html", "/sites", sites=found, message=message)
    answer.status_code = status_code
    return answer


@post("/sites", access=ADMINS, include_in_schema=False)
async def post_site_form(request: CentralRequest, parts: Wired, data: Annotated[SiteForm, FORM]) -> Response[Any]:
    """A new laboratory, or the page with what is wrong."""
    try:
        await new_site(request, parts, msgspec.convert({"id": data.id, "title": data.title}, SiteIn))
    except (ProblemError, msgspec.ValidationError) as error:
        return await _sites_page(request, parts, str(error), 422)
    return Redirect("/sites", status_code=303)


@post("/sites/{site_id:str}", access=ADMINS, include_in_schema=False)
async def post_site_change(
    request: CentralRequest, parts: Wired, site_id: SitePath, data: Annotated[SiteChangeForm, FORM]
) -> Response[Any]:
    """The laboratory as it is wanted, or the page with what is wrong, or with what somebody else changed."""
    wanted = {
        "title": data.title or None,
        "unregistered": data.unregistered or None,
        "four_eyes": {"yes": True, "no": False}.get(data.four_eyes),
        "picture_days": int(days) if (days := data.picture_days.strip()).isdecimal() else days or None,
        "reason": data.reason or None,
    }
    try:
        await changed_site(request, parts, site_id, msgspec.convert(wanted, SiteChangeIn), data.revision)
    except (ProblemError, msgspec.ValidationError) as error:
        status = error.status if isinstance(error, ProblemError) else 422
        return await _sites_page(request, parts, str(error), status)
    return Redirect("/sites", status_code=303)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


HANDLERS: Final = (
    get_people,
    post_invite,
    post_user,
    post_user_link,
    post_user_codes,
    post_user_sign_out,
    post_user_unlink,
    get_keys_page,
    post_key_form,
    post_key_revoke_form,
    get_sites_page,
    post_site_form,
    post_site_change,
)

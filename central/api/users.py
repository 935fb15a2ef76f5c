"""`/api/v1/users`: who may sign in here; for administrators."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
import structlog
from litestar import delete, get, patch, post
from litestar.params import JSONBody, PathParameter

from central.api.paths import missing
from central.api.sessions import UUID
from central.db import reading
from central.mail import Mailer, MailError
from central.parts import CentralRequest, Parts, Wired, actor_of
from central.people import second_factor
from central.people.directory import UserRow, held_about, list_users
from central.people.links import Link, make_link
from central.people.permissions import ADMINS, Role
from central.people.users import LastAdminError, UnknownUserError, UserChange, add_user, change_user, erase_user
from central.web.problems import ProblemError

log: Final = structlog.get_logger(__name__)

UserPath = Annotated[str, PathParameter(pattern=UUID, description="User.")]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
SiteId = Annotated[str, msgspec.Meta(max_length=64)]
SiteIds = Annotated[tuple[SiteId, ...], msgspec.Meta(max_length=200)]
Email = Annotated[str, msgspec.Meta(max_length=254)]


class UsersOut(msgspec.Struct, frozen=True):
    """Everybody, by name."""

    items: tuple[UserRow, ...]


class InviteIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is to join, and as what."""

    name: Annotated[str, msgspec.Meta(max_length=64, examples=["anna"])]
    role: Role
    site_ids: SiteIds
    email: Email | None = None


class ChangeIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be different; what is left out stays."""

    role: Role | None = None
    site_ids: SiteIds | None = None
    disabled: bool | None = None
    email: Email | None = None
    reason: Reason | None = None


class ReasonIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    reason: Reason


class LinkOut(msgspec.Struct, frozen=True):
    """A one-time link to hand over, shown once; null where it was sent to the person's address (`mailed`)."""

    user_id: str
    link: str | None
    expires_at: datetime
    mailed: bool = False


class ErasedOut(msgspec.Struct, frozen=True):
    """What stands for the person from now on."""

    pseudonym: str


@get("/users", access=ADMINS, summary="List users")
async def get_users(parts: Wired) -> UsersOut:
    """Everybody."""
    async with reading(parts.engine) as connection:
        return UsersOut(await list_users(connection))


@post(
    "/users",
    access=ADMINS,
    status_code=201,
    summary="Invite a user",
    description="Answers a one-time link, good for 7 days, by which the person sets a password.",
)
async def post_user(request: CentralRequest, parts: Wired, data: JSONBody[InviteIn]) -> LinkOut:
    """A new account and its link."""
    return await invite(request, parts, data)


async def invite(request: CentralRequest, parts: Parts, data: InviteIn) -> LinkOut:
    """422 where the name, role or a site is wrong."""
    actor, now = actor_of(request), parts.now()
    try:
        person = await add_user(
            parts.engine,
            name=data.name,
            password=None,
            role=data.role,
            email=data.email,
            site_ids=data.site_ids,
            actor=actor,
            now=now,
        )
    except ValueError as error:
        raise ProblemError(422, str(error)) from error
    return await link_out(parts, person.id, await make_link(parts.engine, person.id, actor=actor, now=now))


async def link_out(parts: Parts, user_id: str, link: Link) -> LinkOut:
    """A link, sent by e-mail where that can be done; otherwise as an administrator hands it over."""
    address = f"{parts.public_url}/join/{link.code}"
    async with reading(parts.engine) as connection:
        (row,) = await list_users(connection, user_id)
    if parts.mailer is None or row.email is None:
        return LinkOut(user_id, address, link.expires_at)
    if not await mailed(parts.mailer, user_id, row.email, link, address):
        return LinkOut(user_id, address, link.expires_at)
    return LinkOut(user_id, None, link.expires_at, mailed=True)


async def mailed(mailer: Mailer, user_id: str, email: str, link: Link, address: str) -> bool:
    """Whether the link went out by e-mail; the log says why not."""
    try:
        await mailer.send(email, *letter_of(link, address))
    except MailError as error:
        log.warning("mail_failed", user=user_id, reason=str(error))
        return False
    return True


def letter_of(link: Link, address: str) -> tuple[str, str]:
    """(subject, text) of the letter with a link."""
    what = "join Wellread" if link.kind == "invite" else "set a new password for Wellread"
    text = (
        f"Open this to {what}:\n\n{address}\n\nIt is good once, until {link.expires_at:%Y-%m-%d %H:%M} UTC. "
        "If you did not expect it, do nothing and tell your administrator.\n"
    )
    return f"Your link to {what}", text


@get("/users/{user_id:str}", access=ADMINS, summary="One user")
async def get_user(parts: Wired, user_id: UserPath) -> UserRow:
    """One account."""
    async with reading(parts.engine) as connection:
        found = await list_users(connection, user_id)
    if not found:
        raise missing("user", user_id)
    return found[0]


@patch(
    "/users/{user_id:str}",
    access=ADMINS,
    summary="Change a user",
    description="A changed role, or being disabled, ends every session of theirs. The last administrator stays one.",
)
async def patch_user(request: CentralRequest, parts: Wired, user_id: UserPath, data: JSONBody[ChangeIn]) -> UserRow:
    """The account as it is then."""
    await change(request, parts, user_id, data)
    async with reading(parts.engine) as connection:
        (found,) = await list_users(connection, user_id)
    return found


async def change(request: CentralRequest, parts: Parts, user_id: str, data: ChangeIn) -> None:
    """404, 409 for the last administrator, 422 for a role or site that is none."""
    wanted = {name: getattr(data, name) for name in UserChange.__struct_fields__}
    with_actor: dict[str, Any] = {"actor": actor_of(request), "now": parts.now(), "reason": data.reason}
    try:
        await change_user(parts.engine, user_id, UserChange(**wanted), **with_actor)
    except UnknownUserError as error:
        raise missing("user", user_id) from error
    except LastAdminError as error:
        raise ProblemError(409, str(error)) from error
    except ValueError as error:
        raise ProblemError(422, str(error)) from error


@post(
    "/users/{user_id:str}/link",
    access=ADMINS,
    status_code=201,
    summary="A link to set a password",
    description="For 24 hours, or 7 days for who never had one.",
)
async def post_user_link(request: CentralRequest, parts: Wired, user_id: UserPath) -> LinkOut:
    """A one-time link to hand over."""
    return await new_link(request, parts, user_id)


async def new_link(request: CentralRequest, parts: Parts, user_id: str) -> LinkOut:
    """404 where there is nobody."""
    try:
        link = await make_link(parts.engine, user_id, actor=actor_of(request), now=parts.now())
    except UnknownUserError as error:
        raise missing("user", user_id) from error
    return await link_out(parts, user_id, link)


@delete("/users/{user_id:str}/sessions", access=ADMINS, summary="Sign a user out everywhere")
async def delete_user_sessions(request: CentralRequest, parts: Wired, user_id: UserPath) -> None:
    """404 where this person is signed in nowhere."""
    if not await parts.people.end_sessions(user_id, actor_of(request)):
        raise missing("session of user", user_id)


@post("/users/{user_id:str}/second-factor/remove", access=ADMINS, status_code=204, summary="Remove a user's codes")
async def post_user_codes(request: CentralRequest, parts: Wired, user_id: UserPath, data: JSONBody[ReasonIn]) -> None:
    """For somebody whose telephone is gone."""
    await second_factor.remove(parts.engine, user_id, actor=actor_of(request), now=parts.now(), reason=data.reason)


@get("/users/{user_id:str}/export", access=ADMINS, summary="All that is held about a person")
async def get_user_export(parts: Wired, user_id: UserPath) -> dict[str, Any]:
    """For the person who asks what is held."""
    async with reading(parts.engine) as connection:
        found = await held_about(connection, user_id)
    if found is None:
        raise missing("user", user_id)
    return found


@post(
    "/users/{user_id:str}/erase",
    access=ADMINS,
    status_code=200,
    summary="Forget a person",
    description="A pseudonym stands for the name from then on, everywhere; what they did stays. It cannot be undone.",
)
async def post_user_erase(
    request: CentralRequest, parts: Wired, user_id: UserPath, data: JSONBody[ReasonIn]
) -> ErasedOut:
    """Their name and address are gone."""
    try:
        pseudonym = await erase_user(
            parts.engine, user_id, actor=actor_of(request), now=parts.now(), reason=data.reason
        )
    except UnknownUserError as error:
        raise missing("user", user_id) from error
    except LastAdminError as error:
        raise ProblemError(409, str(error)) from error
    return ErasedOut(pseudonym)


HANDLERS = (
    get_users,
    post_user,
    get_user,
    patch_user,
    post_user_link,
    delete_user_sessions,
    post_user_codes,
    get_user_export,
    post_user_erase,
)

"""`/api/v1/sessions`, `/users/me/…`, `/password-links`: what everybody does with their own account."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.params import JSONBody, PathParameter

from central.api.paths import missing
from central.db import reading
from central.parts import CentralRequest, Parts, Wired, actor_of, origin_of, person_of
from central.people import links, second_factor, users
from central.people.callers import NotSignedInError, Person, Proof
from central.people.passwords import MAX_LENGTH
from central.people.permissions import ANYONE, VIEWERS
from central.people.sessions import Kind, live_sessions
from central.people.totp import app_link, key_text
from central.web.problems import ProblemError

UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
SessionPath = Annotated[str, PathParameter(pattern=UUID, description="Session.")]
Password = Annotated[str, msgspec.Meta(max_length=MAX_LENGTH)]
Code = Annotated[str, msgspec.Meta(max_length=16, examples=["123456"])]


class SessionOut(msgspec.Struct, frozen=True):
    """Where somebody is signed in: a browser (`pages`) or a program (`api`)."""

    id: str
    kind: Kind
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    address: str
    agent: str
    proved: Proof
    this_one: bool


class SessionsOut(msgspec.Struct, frozen=True):
    """The caller's sessions, the last used first."""

    items: tuple[SessionOut, ...]


class PasswordIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The old password (and code, where there is one), and the new."""

    password: Password
    new_password: Password
    code: Code | None = None


class ProofIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who it is, once more."""

    password: Password
    code: Code | None = None


class CodeIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the authenticator app shows."""

    code: Code


class SecretOut(msgspec.Struct, frozen=True):
    """What an authenticator app is given; shown once."""

    secret: str
    link: str


class LinkIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code of a one-time link, and the password to set."""

    code: Annotated[str, msgspec.Meta(max_length=100)]
    new_password: Password


@get("/sessions", access=VIEWERS, summary="Where am I signed in")
async def get_sessions(request: CentralRequest, parts: Wired) -> SessionsOut:
    """The caller's sessions."""
    return SessionsOut(await sessions_of(parts, person_of(request)))


async def sessions_of(parts: Parts, person: Person) -> tuple[SessionOut, ...]:
    """A person's sessions, this one marked."""
    async with reading(parts.engine) as connection:
        found = await live_sessions(connection, person.id, parts.now())
    return tuple(SessionOut(**msgspec.structs.asdict(one), this_one=one.id == person.session_id) for one in found)


@delete("/sessions/{session_id:str}", access=VIEWERS, summary="End one session")
async def delete_session(request: CentralRequest, parts: Wired, session_id: SessionPath) -> None:
    """Sign out somewhere else."""
    if not await parts.people.end_sessions(person_of(request).id, actor_of(request), session_id):
        raise missing("session", session_id)


@delete("/sessions", access=VIEWERS, summary="Sign out everywhere", description="This session too.")
async def delete_sessions(request: CentralRequest, parts: Wired) -> None:
    """End every session of the caller."""
    await parts.people.end_sessions(person_of(request).id, actor_of(request))


@post(
    "/users/me/password",
    access=VIEWERS,
    status_code=204,
    summary="Change my password",
    description="Ends every session, this one too: sign in again.",
)
async def post_password(request: CentralRequest, parts: Wired, data: JSONBody[PasswordIn]) -> None:
    """A new password."""
    await new_password(request, parts, data)


async def new_password(request: CentralRequest, parts: Parts, data: PasswordIn) -> None:
    """Prove who it is, then set it; 403 where the proof is wrong, 422 where the new one is refused."""
    await proven(request, parts, data.password, data.code)
    try:
        await users.change_password(
            parts.engine, person_of(request), data.new_password, actor=actor_of(request), now=parts.now()
        )
    except ValueError as error:
        raise ProblemError(422, str(error)) from error


async def proven(request: CentralRequest, parts: Parts, password: str, code: str | None) -> None:
    """Whether it is who is signed in; 403 otherwise, for the sign-in itself is good."""
    try:
        await parts.people.prove(person_of(request), password=password, code=code or None, origin=origin_of(request))
    except NotSignedInError as error:
        raise ProblemError(403, str(error)) from error


@post("/users/me/second-factor", access=VIEWERS, status_code=201, summary="Set up one-time codes")
async def post_second_factor(request: CentralRequest, parts: Wired, data: JSONBody[ProofIn]) -> SecretOut:
    """A secret for an authenticator app; nothing is asked for until one of its codes was confirmed."""
    return await new_secret(request, parts, data)


async def new_secret(request: CentralRequest, parts: Parts, data: ProofIn) -> SecretOut:
    """403 where the proof is wrong, 409 for who has codes already."""
    await proven(request, parts, data.password, data.code)
    person = person_of(request)
    try:
        secret = await second_factor.offer(parts.engine, parts.people.seal, person)
    except second_factor.SecondFactorError as error:
        raise ProblemError(409, str(error)) from error
    return SecretOut(key_text(secret), app_link(secret, person.name))


@post("/users/me/second-factor/confirm", access=VIEWERS, status_code=204, summary="Confirm one-time codes")
async def post_confirm(request: CentralRequest, parts: Wired, data: JSONBody[CodeIn]) -> None:
    """From now on a code is asked for."""
    await confirm_code(request, parts, data.code)


async def confirm_code(request: CentralRequest, parts: Parts, code: str) -> None:
    """422 where it is not right."""
    person, actor = person_of(request), actor_of(request)
    try:
        await second_factor.confirm(parts.engine, parts.people.seal, person, code, actor=actor, now=parts.now())
    except second_factor.SecondFactorError as error:
        raise ProblemError(422, str(error)) from error


@post("/users/me/second-factor/remove", access=VIEWERS, status_code=204, summary="Remove one-time codes")
async def post_remove(request: CentralRequest, parts: Wired, data: JSONBody[ProofIn]) -> None:
    """No code is asked for any more."""
    await remove_codes(request, parts, data)


async def remove_codes(request: CentralRequest, parts: Parts, data: ProofIn) -> None:
    """403 where the proof is wrong."""
    await proven(request, parts, data.password, data.code)
    await second_factor.remove(parts.engine, person_of(request).id, actor=actor_of(request), now=parts.now())


@post(
    "/password-links",
    access=ANYONE,
    status_code=204,
    summary="Set a password by a one-time link",
    description="The link's code is the credential; it is used up.",
    security=[],
)
async def post_link(request: CentralRequest, parts: Wired, data: JSONBody[LinkIn]) -> None:
    """A first or a new password."""
    await password_by_link(request, parts, data.code, data.new_password)


async def password_by_link(request: CentralRequest, parts: Parts, code: str, password: str) -> None:
    """422 where the link or the password is not good."""
    try:
        await links.use_link(parts.engine, code, password, origin=origin_of(request), now=parts.now())
    except ValueError as error:
        raise ProblemError(422, str(error)) from error


HANDLERS = (
    get_sessions,
    delete_session,
    delete_sessions,
    post_password,
    post_second_factor,
    post_confirm,
    post_remove,
    post_link,
)

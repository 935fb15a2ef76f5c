"""`/api/v1/profiles`: assay profiles and their versions; trying one on stored runs; which one counts."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import get, post
from litestar.params import JSONBody, PathParameter, QueryParameter

from central.api.paths import SubmissionFilter, missing
from central.assays.registry import (
    ProfileError,
    ProfileVersion,
    UnknownProfileError,
    activate,
    add,
    assays_of,
    list_versions,
    read_profile,
)
from central.assays.trial import MOST_RUNS, Trial, try_profile
from central.db import reading
from central.parts import CentralRequest, Parts, Wired, actor_of, person_of
from central.people.permissions import ADMINS, REVIEWERS, VIEWERS
from central.web.problems import ProblemError
from protocol.assay import AssayProfile

ProfilePath = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$", description="Profile.")]
VersionPath = Annotated[int, PathParameter(ge=1, le=2**31 - 1, description="Its version.")]
Last = Annotated[int, QueryParameter(ge=1, le=MOST_RUNS, description="At most so many runs, newest first.")]


class ProfileFileIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A profile's file as text."""

    format: Literal["json", "toml"]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=60_000)]


class ActivationIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a version counts from now on."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f]")]


class ProfileOut(msgspec.Struct, frozen=True, kw_only=True):
    """One version. `active`: runs that come in are interpreted by it."""

    name: str
    version: int
    title: str
    digest: str
    shipped: bool
    active: bool
    created_at: datetime | None
    created_by: str | None
    activated_at: datetime | None
    activated_by: str | None


class ProfilesOut(msgspec.Struct, frozen=True):
    """Every version of every profile."""

    items: tuple[ProfileOut, ...]


class ChangedOut(msgspec.Struct, frozen=True, kw_only=True):
    """One row that would change; `signed`: its run was approved and keeps the version that it has."""

    run_id: str
    submission: str | None
    test: str | None
    plate_number: str | None
    row: str
    before: str
    after: str
    grade_before: str
    grade_after: str
    signed: bool


class TrialOut(msgspec.Struct, frozen=True):
    """What would change over so many runs and rows; `titres` of them in their result, `grades` in their grade."""

    runs: int
    rows: int
    titres: int
    grades: int
    changed: tuple[ChangedOut, ...]


@get("/profiles", access=VIEWERS, summary="Assay profiles and their versions")
async def get_profiles(parts: Wired) -> ProfilesOut:
    """Every version."""
    async with reading(parts.engine) as connection:
        found = await list_versions(connection)
    return ProfilesOut(tuple(profile_out(each) for each in found))


@get("/profiles/{profile:str}/versions/{version:int}", access=VIEWERS, summary="One version of a profile")
async def get_profile(parts: Wired, profile: ProfilePath, version: VersionPath) -> dict[str, Any]:
    """The profile as data: what its JSON file holds."""
    found: dict[str, Any] = msgspec.to_builtins(await profile_of(parts, profile, version))
    return found


@post(
    "/profiles",
    access=ADMINS,
    status_code=201,
    summary="Add a version of a profile",
    description="Checked whole; 409 names every mistake. It counts only once it is activated.",
)
async def post_profile(request: CentralRequest, parts: Wired, data: JSONBody[ProfileFileIn]) -> ProfileOut:
    """A new version."""
    try:
        profile = read_profile(data.text.encode(), toml=data.format == "toml")
        return profile_out(await add(parts.engine, profile, actor=actor_of(request), now=parts.now()))
    except ProfileError as error:
        raise ProblemError(409, str(error)) from error


@get(
    "/profiles/{profile:str}/versions/{version:int}/trial",
    access=REVIEWERS,
    summary="Which titres would change",
    description="The version on the last runs of its profile, or on those of a submission. Nothing is changed.",
)
async def get_trial(
    *,
    request: CentralRequest,
    parts: Wired,
    profile: ProfilePath,
    version: VersionPath,
    last: Last = 200,
    submission: SubmissionFilter = None,
) -> TrialOut:
    """What would change."""
    found = await tried(request, parts, profile, version, last=last, submission=submission)
    changed = tuple(ChangedOut(**msgspec.structs.asdict(each)) for each in found.changed)
    return TrialOut(found.runs, found.rows, found.titres, found.grades, changed)


@post(
    "/profiles/{profile:str}/versions/{version:int}/activation",
    access=ADMINS,
    status_code=200,
    summary="Interpret new runs by this version",
)
async def post_activation(
    request: CentralRequest, parts: Wired, profile: ProfilePath, version: VersionPath, data: JSONBody[ActivationIn]
) -> ProfileOut:
    """The version that counts from now on."""
    return profile_out(await activated(request, parts, profile, version, data.reason))


async def profile_of(parts: Parts, name: str, version: int) -> AssayProfile:
    """A version, 404 where there is none."""
    async with reading(parts.engine) as connection:
        try:
            return (await assays_of(connection, [(name, version)]))[name, version]
        except UnknownProfileError as error:
            raise missing("profile", f"{name} version {version}") from error


async def tried(
    request: CentralRequest, parts: Parts, name: str, version: int, *, last: int, submission: str | None
) -> Trial:
    """A version on stored runs of the caller's sites."""
    profile = await profile_of(parts, name, version)
    sites = person_of(request).sites
    async with reading(parts.engine) as connection:
        return await try_profile(connection, profile, sites=sites, last=last, submission=submission)


async def activated(request: CentralRequest, parts: Parts, name: str, version: int, reason: str) -> ProfileVersion:
    """Activate it; what is wrong as a problem."""
    try:
        return await activate(parts.engine, (name, version), reason=reason, actor=actor_of(request), now=parts.now())
    except UnknownProfileError as error:
        raise missing("profile", f"{name} version {version}") from error
    except ProfileError as error:
        raise ProblemError(409, str(error)) from error


def profile_out(version: ProfileVersion) -> ProfileOut:
    """A version as the API shows it."""
    return ProfileOut(**msgspec.structs.asdict(version))


HANDLERS: Final = (get_profiles, get_profile, post_profile, get_trial, post_activation)

"""The pages of assays: versions of profiles and what they would change, control sera and their charts, agreement."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.response import Redirect, Template

from central.api.controls import ControlPath, ControlSerumIn, TargetIn, added, chart_of, targeted
from central.api.paths import SubmissionFilter, missing
from central.api.profiles import Last, ProfilePath, VersionPath, activated, profile_of, tried
from central.api.statistics import agreements
from central.assays.charts import WARNINGS, Chart
from central.assays.registry import ProfileError, add, list_versions, read_profile
from central.assays.sera import get_serum, list_sera, observations
from central.dashboard.fields import FORM
from central.dashboard.pages import frame
from central.dashboard.terms import CALL_WORDS
from central.db import reading
from central.parts import CentralRequest, Parts, Wired, actor_of, person_of
from central.people.permissions import ADMINS, OPERATORS, REVIEWERS, VIEWERS
from central.people.sites import MAIN_SITE
from central.review.dossier import names_of
from central.web.problems import ProblemError
from protocol.profiles import PROFILES

_REVIEWED: Final = 500
# The chart's own units: SDs on the page, and room for the labels.
_SD_HEIGHT, _STEP, _LEFT = 24.0, 14.0, 46.0


class ProfileForm(msgspec.Struct, frozen=True):
    """The fields of a new version."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=60_000)]
    format: Annotated[str, msgspec.Meta(pattern="^(json|toml)$(?!\n)")] = "json"


class ActivationForm(msgspec.Struct, frozen=True):
    """The field of an activation."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]


class SerumForm(msgspec.Struct, frozen=True):
    """The fields of a new lot, as a browser sends them."""

    name: Annotated[str, msgspec.Meta(max_length=64)]
    lot: Annotated[str, msgspec.Meta(max_length=64)]
    kind: Annotated[str, msgspec.Meta(max_length=16)]
    profile: Annotated[str, msgspec.Meta(max_length=64)]
    tolerance_log2: Annotated[str, msgspec.Meta(max_length=8)]
    expected_log2: Annotated[str, msgspec.Meta(max_length=8)] = ""
    antigen: Annotated[str, msgspec.Meta(max_length=100)] = ""
    site_id: Annotated[str, msgspec.Meta(max_length=64)] = MAIN_SITE


class TargetForm(msgspec.Struct, frozen=True):
    """The fields of a target, as a browser sends them; empty mean and SD take it away."""

    revision: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    reason: Annotated[str, msgspec.Meta(max_length=1000)]
    mean: Annotated[str, msgspec.Meta(max_length=32)] = ""
    sd: Annotated[str, msgspec.Meta(max_length=32)] = ""
    retired: Annotated[str, msgspec.Meta(max_length=8)] = ""


@get("/profiles", access=VIEWERS, include_in_schema=False)
async def get_profiles_page(request: CentralRequest, parts: Wired) -> Template:
    """Every version of every profile, and a form for a new one."""
    return await _profiles_page(request, parts)


@post("/profiles", access=ADMINS, include_in_schema=False)
async def post_profile_form(request: CentralRequest, parts: Wired, data: Annotated[ProfileForm, FORM]) -> Response[Any]:
    """Store a version and show it; or say what is wrong with it."""
    try:
        profile = read_profile(data.text.encode(), toml=data.format == "toml")
        made = await add(parts.engine, profile, actor=actor_of(request), now=parts.now())
    except ProfileError as error:
        return await _profiles_page(request, parts, ProblemError(409, str(error)), data.text)
    return Redirect(f"/profiles/{made.name}/{made.version}", status_code=303)


@get("/profiles/{profile:str}/{version:int}", access=VIEWERS, include_in_schema=False)
async def get_profile_page(
    *,
    request: CentralRequest,
    parts: Wired,
    profile: ProfilePath,
    version: VersionPath,
    last: Last = 200,
    submission: SubmissionFilter = None,
) -> Template:
    """One version, and which titres of stored runs it would change."""
    found = await profile_of(parts, profile, version)
    trial = await tried(request, parts, profile, version, last=last, submission=submission)
    async with reading(parts.engine) as connection:
        versions = await list_versions(connection)
    return _page(
        request,
        parts,
        "profile.html",
        "/profiles",
        profile=found,
        version=next(each for each in versions if (each.name, each.version) == (profile, version)),
        trial=trial,
        last=last,
        submission=submission,
        text=msgspec.json.format(msgspec.json.encode(found), indent=2).decode(),
    )


@post("/profiles/{profile:str}/{version:int}/activation", access=ADMINS, include_in_schema=False)
async def post_activation_form(
    request: CentralRequest,
    parts: Wired,
    profile: ProfilePath,
    version: VersionPath,
    data: Annotated[ActivationForm, FORM],
) -> Redirect:
    """Interpret runs by this version from now on."""
    await activated(request, parts, profile, version, data.reason)
    return Redirect("/profiles", status_code=303)


@get("/controls", access=VIEWERS, include_in_schema=False)
async def get_controls_page(request: CentralRequest, parts: Wired) -> Template:
    """Control sera by lot, and a form for a new one."""
    return await _controls_page(request, parts)


@post("/controls", access=OPERATORS, include_in_schema=False)
async def post_control_form(request: CentralRequest, parts: Wired, data: Annotated[SerumForm, FORM]) -> Response[Any]:
    """Add a lot and show it; or say what is wrong."""
    try:
        given = {name: value.strip() or None for name, value in msgspec.structs.asdict(data).items()}
        row = await added(request, parts, msgspec.convert(given, ControlSerumIn, strict=False))
    except ProblemError as error:
        return await _controls_page(request, parts, error)
    except msgspec.ValidationError as error:
        return await _controls_page(request, parts, ProblemError(400, str(error)))
    return Redirect(f"/controls/{row.id}", status_code=303)


@get("/controls/{control_id:str}", access=VIEWERS, include_in_schema=False)
async def get_control_page(request: CentralRequest, parts: Wired, control_id: ControlPath) -> Template:
    """One lot with its control chart."""
    return await _control_page(request, parts, control_id)


@post("/controls/{control_id:str}", access=REVIEWERS, include_in_schema=False)
async def post_target_form(
    request: CentralRequest, parts: Wired, control_id: ControlPath, data: Annotated[TargetForm, FORM]
) -> Response[Any]:
    """Set its target or retire it; or say what is wrong."""
    given = {"mean": data.mean.strip() or None, "sd": data.sd.strip() or None, "reason": data.reason.strip()}
    try:
        target = msgspec.convert(given | {"retired": bool(data.retired)}, TargetIn, strict=False)
        await targeted(request, parts, control_id, target, data.revision)
    except ProblemError as error:
        if error.status == 404:
            raise
        return await _control_page(request, parts, control_id, error)
    except msgspec.ValidationError as error:
        return await _control_page(request, parts, control_id, ProblemError(400, str(error)))
    return Redirect(f"/controls/{control_id}", status_code=303)


@get("/statistics", access=VIEWERS, include_in_schema=False)
async def get_statistics_page(request: CentralRequest, parts: Wired) -> Template:
    """How far devices and reviewers agree."""
    async with reading(parts.engine) as connection:
        found = await agreements(connection, person_of(request).sites, last=_REVIEWED)
    return _page(
        request, parts, "statistics.html", "/statistics", agreements=found, words=CALL_WORDS, reviewed=_REVIEWED
    )


async def _profiles_page(
    request: CentralRequest, parts: Parts, error: ProblemError | None = None, text: str = ""
) -> Template:
    async with reading(parts.engine) as connection:
        found = await list_versions(connection)
        names = await names_of(connection, (each.activated_by for each in found if each.activated_by))
    status = 200 if error is None else error.status
    values = {"versions": found, "names": names, "error": error, "text": text}
    return _page(request, parts, "profiles.html", "/profiles", status=status, **values)


async def _controls_page(request: CentralRequest, parts: Parts, error: ProblemError | None = None) -> Template:
    async with reading(parts.engine) as connection:
        found = await list_sera(connection, person_of(request).sites)
    status = 200 if error is None else error.status
    titred = [name for name, profile in PROFILES.items() if profile.reports != "calls"]
    values = {"sera": found, "error": error, "profiles": titred, "may_add": person_of(request).role != "viewer"}
    return _page(request, parts, "controls.html", "/controls", status=status, **values)


async def _control_page(
    request: CentralRequest, parts: Parts, control_id: str, error: ProblemError | None = None
) -> Template:
    person = person_of(request)
    async with reading(parts.engine) as connection:
        row = await get_serum(connection, control_id, person.sites)
        if row is None:
            raise missing("control serum", control_id)
        found = chart_of(row, await observations(connection, control_id))
    return _page(
        request,
        parts,
        "control.html",
        "/controls",
        status=200 if error is None else error.status,
        error=error,
        serum=row,
        chart=found,
        drawn=drawn(found),
        may_set=person.role in ("reviewer", "admin"),
    )


def drawn(chart: Chart) -> dict[str, Any]:
    """The chart in its own units: points by z from +4 to -4 SD, lines at the mean and ±1 to 3 SD."""
    limits = {z: round((4 - z) * _SD_HEIGHT, 1) for z in range(-3, 4)}
    points = [
        {
            "x": round(_LEFT + _STEP * (at + 1), 1),
            "y": round((4 - max(-4.0, min(4.0, point.z))) * _SD_HEIGHT, 1),
            "kind": "rejected" if set(point.rules) - WARNINGS else "warning" if point.rules else "",
            "words": f"{point.at:%Y-%m-%d}: log₂ {point.log2}, {point.z:+.1f} SD {' '.join(point.rules)}".strip(),
        }
        for at, point in enumerate(chart.points)
        if point.z is not None
    ]
    width = round(_LEFT + _STEP * (len(chart.points) + 2), 1)
    return {"points": points, "limits": limits, "width": max(width, 260.0), "height": 8 * _SD_HEIGHT, "left": _LEFT}


def _page(
    request: CentralRequest, parts: Parts, template: str, tab: str, *, status: int = 200, **values: Any
) -> Template:
    return Template(template, context=frame(request, parts, "/profiles") | {"tab": tab} | values, status_code=status)


HANDLERS: Final = (
    get_profiles_page,
    post_profile_form,
    get_profile_page,
    post_activation_form,
    get_controls_page,
    post_control_form,
    get_control_page,
    post_target_form,
    get_statistics_page,
)

"""The pages of delivery rules: make one for any place, change it, send a test file there, pause it.

A secret is written and never shown again, nor after a mistake in another field. What is wrong is said at its field.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.params import QueryParameter
from litestar.response import Redirect, Template

from central.api.delivery_rules import IdPath, RuleIn, wanted_of
from central.api.paths import missing
from central.dashboard.fields import FORM, Short
from central.dashboard.pages import page
from central.db import reading
from central.deliveries import editing
from central.deliveries.dialect import Dialect, DialectError, shipped
from central.deliveries.editing import NewRule, StaleRuleError, UnknownError
from central.deliveries.places import PLACES, SECRET_NEEDED, Kind, PlaceError
from central.deliveries.queries import RuleRow, get_rule
from central.deliveries.targets.target import TargetError
from central.deliveries.trial import try_rule
from central.parts import CentralRequest, Parts, Wired, actor_of, caller_sites
from central.people.laboratories import list_sites
from central.people.permissions import ADMINS
from central.people.sites import MAIN_SITE
from central.web.problems import ProblemError

KINDS: Final[Mapping[Kind, str]] = {
    "folder": "a folder",
    "sftp": "an SFTP account",
    "webhook": "a webhook",
    "s3": "a bucket (S3)",
    "email": "e-mail",
}
# Where a place says what is wrong without naming the field: by what it says.
_SAYS: Final = (
    ("secret", "secret"), ("endpoint", "endpoint"), ("folder", "path"), ("addresses", "to"), ("not an address", "to"),
    ("expected one in", "to"), ("mail server", "to"), ("dialect", "dialect"),
)  # fmt: skip
_AT: Final = re.compile(r"`\$\.(?:target\.)?(\w+)")
_MISSING: Final = re.compile(r"required field `(\w+)`")

KindFilter = Annotated[Kind, QueryParameter(description="What kind of place.")]


class RuleForm(msgspec.Struct, frozen=True):
    """The fields of a rule for every kind of place; those of other kinds stay empty."""

    title: Annotated[str, msgspec.Meta(max_length=200)] = ""
    site_id: Annotated[str, msgspec.Meta(max_length=64)] = MAIN_SITE
    when: Short = "approved"
    of: Short = "test"
    dialect: Annotated[str, msgspec.Meta(max_length=64)] = ""
    dialect_toml: Annotated[str, msgspec.Meta(max_length=20_000)] = ""
    kind: Kind = "folder"
    path: Annotated[str, msgspec.Meta(max_length=500)] = ""
    host: Annotated[str, msgspec.Meta(max_length=500)] = ""
    port: Annotated[str, msgspec.Meta(max_length=5)] = ""
    username: Annotated[str, msgspec.Meta(max_length=500)] = ""
    folder: Annotated[str, msgspec.Meta(max_length=500)] = ""
    host_key: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    url: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    bucket: Annotated[str, msgspec.Meta(max_length=64)] = ""
    region: Annotated[str, msgspec.Meta(max_length=64)] = ""
    access_key_id: Annotated[str, msgspec.Meta(max_length=500)] = ""
    endpoint: Annotated[str, msgspec.Meta(max_length=500)] = ""
    prefix: Annotated[str, msgspec.Meta(max_length=200)] = ""
    to: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    secret: Annotated[str, msgspec.Meta(max_length=8000)] = ""
    revision: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0


class RevisionForm(msgspec.Struct, frozen=True):
    """Of the rule as it was seen."""

    revision: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


@get("/deliveries/rules/new", access=ADMINS, include_in_schema=False)
async def get_new_rule_page(request: CentralRequest, parts: Wired, kind: KindFilter = "folder") -> Template:
    """An empty form for a kind of place."""
    return await _form(request, parts, RuleForm(kind=kind, dialect=next(iter(shipped()))))


@get("/deliveries/rules/{rule_id:str}", access=ADMINS, include_in_schema=False)
async def get_rule_page(request: CentralRequest, parts: Wired, rule_id: IdPath) -> Template:
    """A rule in its form, without its secret."""
    found = await _rule(request, parts, rule_id)
    return await _form(request, parts, _filled(found), rule=found)


@post("/deliveries/rules", access=ADMINS, include_in_schema=False)
async def post_rule_form(request: CentralRequest, parts: Wired, data: Annotated[RuleForm, FORM]) -> Response[Any]:
    """A rule, or the form again with what is wrong at its field."""
    try:
        if data.site_id not in caller_sites(request):
            raise missing("site", data.site_id)
        made = await editing.add_rule(parts.desk, data.site_id, _wanted(data), actor=actor_of(request), now=parts.now())
    except (msgspec.ValidationError, ProblemError, DialectError, PlaceError, UnknownError) as error:
        return await _form(request, parts, data, wrong=error)
    return Redirect(f"/deliveries/rules/{made}", status_code=303)


@post("/deliveries/rules/{rule_id:str}", access=ADMINS, include_in_schema=False)
async def post_changed_rule_form(
    request: CentralRequest, parts: Wired, rule_id: IdPath, data: Annotated[RuleForm, FORM]
) -> Response[Any]:
    """The rule as the form has it; one without a secret keeps its own."""
    before = await _rule(request, parts, rule_id)
    try:
        own = msgspec.convert(before.dialect, Dialect)
        keeps = not data.dialect_toml.strip() and data.dialect == own.name
        wanted = _wanted(data, own if keeps else None, enabled=before.enabled)
        await _change(request, parts, rule_id, wanted, data.revision)
    except (msgspec.ValidationError, ProblemError, DialectError, PlaceError) as error:
        return await _form(request, parts, data, rule=before, wrong=error)
    return Redirect(f"/deliveries/rules/{rule_id}", status_code=303)


@post("/deliveries/rules/{rule_id:str}/pause", access=ADMINS, include_in_schema=False)
async def post_pause_form(
    request: CentralRequest, parts: Wired, rule_id: IdPath, data: Annotated[RevisionForm, FORM]
) -> Redirect:
    """Off where it is on, and on where it is off; nothing is made up for what was approved in between."""
    before = await _rule(request, parts, rule_id)
    values = {name: getattr(before, name) for name in ("title", "when", "of", "target_kind", "target")}
    wanted = NewRule(**values, dialect=msgspec.convert(before.dialect, Dialect), enabled=not before.enabled)
    try:
        await _change(request, parts, rule_id, wanted, data.revision)
    except (DialectError, PlaceError) as error:
        raise ProblemError(422, str(error)) from error
    return Redirect(f"/deliveries/rules/{rule_id}", status_code=303)


@post("/deliveries/rules/{rule_id:str}/try", access=ADMINS, status_code=200, include_in_schema=False)
async def post_try_form(request: CentralRequest, parts: Wired, rule_id: IdPath) -> Template:
    """A test file, and how that went."""
    found = await _rule(request, parts, rule_id)
    try:
        tried = await try_rule(
            parts.desk, rule_id, sites=caller_sites(request), actor=actor_of(request), now=parts.now()
        )
    except TargetError as error:
        return await _form(request, parts, _filled(found), rule=found, failed=str(error))
    return await _form(request, parts, _filled(found), rule=found, tried=tried.name)


async def _rule(request: CentralRequest, parts: Parts, rule_id: str) -> RuleRow:
    async with reading(parts.engine) as connection:
        found = await get_rule(connection, rule_id, caller_sites(request))
    if found is None:
        raise missing("delivery rule", rule_id)
    return found


async def _change(request: CentralRequest, parts: Parts, rule_id: str, wanted: NewRule, seen: int) -> None:
    try:
        await editing.change_rule(
            parts.desk, rule_id, wanted, seen=seen, sites=caller_sites(request), actor=actor_of(request),
            now=parts.now(),
        )  # fmt: skip
    except UnknownError as error:
        raise missing("delivery rule", rule_id) from error
    except StaleRuleError as error:
        raise ProblemError(409, f"somebody changed it meanwhile: {error}") from error


def _wanted(data: RuleForm, own: Dialect | None = None, *, enabled: bool = True) -> NewRule:
    """The rule that a form asks for, in the dialect that it has already or a new one."""
    names = PLACES[data.kind].__struct_fields__
    target: dict[str, str | int | None] = {name: getattr(data, name).strip() for name in names if getattr(data, name)}
    if isinstance(port := target.get("port"), str):
        target["port"] = int(port) if port.isascii() and port.isdigit() else port
    toml = data.dialect_toml.strip()
    values = {
        "title": data.title.strip(), "when": data.when, "of": data.of, "target_kind": data.kind, "target": target,
        "dialect": None if toml else (data.dialect if own is None else next(iter(shipped()))),
        "dialect_toml": data.dialect_toml if toml else None, "secret": data.secret.strip() or None, "enabled": enabled,
    }  # fmt: skip
    wanted = wanted_of(msgspec.convert(values, RuleIn))
    return wanted if own is None else replace(wanted, dialect=own)


def _filled(rule: RuleRow) -> RuleForm:
    """The form of a rule as it is."""
    place = {name: str(value) for name, value in rule.target.items() if name in RuleForm.__struct_fields__}
    return RuleForm(
        **place, title=rule.title, site_id=rule.site_id, when=rule.when, of=rule.of, dialect=rule.dialect["name"],
        kind=msgspec.convert(rule.target_kind, Kind), revision=rule.revision,
    )  # fmt: skip


def _field_of(kind: Kind, said: str) -> str:
    """The field that a message is about: the one that it names, or the first of the place."""
    found = _AT.search(said) or _MISSING.search(said)
    if found is not None:
        return found[1]
    place = PLACES[kind].__struct_fields__
    known = (field for words, field in _SAYS if words in said and field in {"secret", "dialect", *place})
    return next(known, place[0])


async def _form(
    request: CentralRequest,
    parts: Parts,
    data: RuleForm,
    *,
    rule: RuleRow | None = None,
    wrong: Exception | None = None,
    tried: str = "",
    failed: str = "",
) -> Template:
    async with reading(parts.engine) as connection:
        sites = await list_sites(connection, caller_sites(request))
    said = {}
    if wrong is not None:
        detail = wrong.detail if isinstance(wrong, ProblemError) else str(wrong)
        at = "" if isinstance(wrong, ProblemError) and wrong.status == 409 else _field_of(data.kind, detail)
        if isinstance(wrong, ProblemError | DialectError) and data.dialect_toml.strip():
            at = "dialect_toml"
        said = {at: detail}
    answer = page(
        request,
        parts,
        "delivery-rule.html",
        "/deliveries",
        data=data,
        rule=rule,
        said=said,
        tried=tried,
        failed=failed,
        kinds=KINDS,
        needs_secret=data.kind in SECRET_NEEDED,
        dialects=shipped().values(),
        own_dialect=None if rule is None else rule.dialect,
        roots=parts.settings.delivery_roots,
        mail_domains=parts.settings.delivery_mail_domains,
        networks=parts.settings.delivery_networks,
        sites=sites,
    )
    answer.status_code = 200 if wrong is None else (wrong.status if isinstance(wrong, ProblemError) else 422)
    return answer


HANDLERS: Final = (
    get_new_rule_page,
    get_rule_page,
    post_rule_form,
    post_changed_rule_form,
    post_pause_form,
    post_try_form,
)

"""`/api/v1/delivery-rules` and `/dialects`: what goes where, in which shape."""

from typing import Annotated, Final, Literal

import msgspec
from litestar import Response, get, post, put
from litestar.params import JSONBody, PathParameter

from central.api.paths import missing
from central.db import reading
from central.deliveries import editing
from central.deliveries.dialect import Dialect, DialectError, load, shipped
from central.deliveries.editing import NewRule, StaleRuleError, UnknownError
from central.deliveries.places import Kind, PlaceError
from central.deliveries.queries import RuleRow, get_rule, list_rules
from central.parts import CentralRequest, Wired, actor_of, caller_sites
from central.people.permissions import ADMINS, VIEWERS
from central.web.problems import FieldError, ProblemError
from central.web.revisions import revision_tag, seen_revision, stale

_ID: Final = r"^[0-9a-f-]{36}$"
IdPath = Annotated[str, PathParameter(pattern=_ID, description="Its id.")]


class RuleIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What goes where. `dialect` names a shipped one; `dialect_toml` is one of the site's own instead.

    `secret` is kept sealed and never shown; left out of a change, the rule keeps the one that it has.
    """

    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
    when: Literal["approved", "by_hand"] = "approved"
    of: Literal["submission", "test", "plate"] = "test"
    dialect: Annotated[str, msgspec.Meta(max_length=64, examples=["titres"])] | None = None
    dialect_toml: Annotated[str, msgspec.Meta(max_length=20_000)] | None = None
    target_kind: Kind
    target: dict[str, str | int | None]
    secret: Annotated[str, msgspec.Meta(min_length=1, max_length=8000)] | None = None
    enabled: bool = True


class NewRuleIn(RuleIn, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule of a site."""

    site_id: Annotated[str, msgspec.Meta(max_length=64)] = "main"


class RulesOut(msgspec.Struct, frozen=True):
    """Every rule that the caller sees, by title."""

    items: tuple[RuleRow, ...]


class MadeOut(msgspec.Struct, frozen=True):
    """What was made."""

    id: str
    url: str


class DialectLine(msgspec.Struct, frozen=True):
    """A shipped dialect."""

    name: str
    version: int
    title: str
    reader: str


class DialectsOut(msgspec.Struct, frozen=True):
    """The shipped dialects, by name."""

    items: tuple[DialectLine, ...]


@get("/dialects", access=VIEWERS.with_key("deliveries:read"), summary="List dialects", description="The shipped ones.")
async def get_dialects() -> DialectsOut:
    """The shapes that files may have."""
    return DialectsOut(tuple(DialectLine(d.name, d.version, d.title, d.reader) for d in shipped().values()))


@get("/delivery-rules", access=ADMINS, summary="List delivery rules", description="Without their secrets.")
async def get_rules(request: CentralRequest, parts: Wired) -> RulesOut:
    """Every rule."""
    async with reading(parts.engine) as connection:
        return RulesOut(await list_rules(connection, caller_sites(request)))


@post(
    "/delivery-rules",
    access=ADMINS,
    status_code=201,
    summary="Make a delivery rule",
    description="From now on what is approved of the site goes there. Nothing is sent of what was approved before.",
)
async def post_rule(request: CentralRequest, parts: Wired, data: JSONBody[NewRuleIn]) -> MadeOut:
    """A rule."""
    if data.site_id not in caller_sites(request):
        raise missing("site", data.site_id)
    try:
        made = await editing.add_rule(
            parts.desk, data.site_id, wanted_of(data), actor=actor_of(request), now=parts.now()
        )
    except UnknownError as error:
        raise missing("site", data.site_id) from error
    except (DialectError, PlaceError) as error:
        raise ProblemError(422, str(error)) from error
    return MadeOut(made, f"/api/v1/delivery-rules/{made}")


@get("/delivery-rules/{rule_id:str}", access=ADMINS, summary="One delivery rule", description="Without its secret.")
async def get_one_rule(request: CentralRequest, parts: Wired, rule_id: IdPath) -> Response[RuleRow]:
    """One rule, with its revision as ETag."""
    async with reading(parts.engine) as connection:
        found = await get_rule(connection, rule_id, caller_sites(request))
    if found is None:
        raise missing("delivery rule", rule_id)
    return Response(found, headers={"etag": revision_tag(found.revision)})


@put(
    "/delivery-rules/{rule_id:str}",
    access=ADMINS,
    status_code=204,
    summary="Change a delivery rule",
    description="Names the revision that was seen (`If-Match`). Files that were made already stay as they are.",
)
async def put_rule(request: CentralRequest, parts: Wired, rule_id: IdPath, data: JSONBody[RuleIn]) -> None:
    """The rule as it is wanted now."""
    seen = seen_revision(request)
    try:
        await editing.change_rule(
            parts.desk,
            rule_id,
            wanted_of(data),
            seen=seen,
            sites=caller_sites(request),
            actor=actor_of(request),
            now=parts.now(),
        )
    except UnknownError as error:
        raise missing("delivery rule", rule_id) from error
    except StaleRuleError as error:
        raise stale(str(error), error.revision) from error
    except (DialectError, PlaceError) as error:
        raise ProblemError(422, str(error)) from error


def wanted_of(data: RuleIn) -> NewRule:
    """The rule that is meant; 422 where its dialect is none."""
    return NewRule(
        title=data.title,
        when=data.when,
        of=data.of,
        dialect=dialect_of(data.dialect, data.dialect_toml),
        target_kind=data.target_kind,
        target={name: value for name, value in data.target.items() if value is not None},
        secret=data.secret,
        enabled=data.enabled,
    )


def dialect_of(name: str | None, toml: str | None) -> Dialect:
    """The shipped one of this name, or the one that is written here; 422 says what is wrong, line by line."""
    if (name is None) == (toml is None):
        raise ProblemError(422, "dialect and dialect_toml (expected one of the two)")
    if toml is not None:
        try:
            return load(toml)
        except DialectError as error:
            raise ProblemError(422, str(error), errors=_of_fields(error)) from error
    found = shipped().get(name or "")
    if found is None:
        raise ProblemError(422, f"no dialect {name!r} (expected one of {', '.join(shipped())})")
    return found


def _of_fields(error: DialectError) -> tuple[FieldError, ...]:
    """Where in the body, and on which line of the TOML."""
    return tuple(
        FieldError(
            f"/dialect_toml{each.pointer}", each.detail if each.line is None else f"line {each.line}: {each.detail}"
        )
        for each in error.findings
    )


HANDLERS: Final = (get_dialects, get_rules, post_rule, get_one_rule, put_rule)

"""The page of the audit trail: filters, and each change with old and new side by side."""

import json
from typing import Annotated, Any, Final

import msgspec
from litestar import get
from litestar.params import QueryParameter
from litestar.response import Template

from central.api.audit import EntryOut, address_of, entries_page
from central.api.paths import After
from central.audit.queries import Wanted
from central.dashboard.pages import page
from central.parts import CentralRequest, Wired, person_of
from central.people.permissions import REVIEWERS
from central.web.problems import ProblemError

PAGE_SIZE: Final = 50
FIELDS: Final = (
    ("action", "Action"),
    ("object_kind", "Kind"),
    ("object_id", "Id"),
    ("actor", "Who (id)"),
    ("site", "Site"),
    ("since", "From"),
    ("until", "Before"),
    ("text", "Text"),
)
_Field = Annotated[str, QueryParameter(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


@get("/audit", access=REVIEWERS, include_in_schema=False)
async def get_audit_page(
    *,
    request: CentralRequest,
    parts: Wired,
    after: After = None,
    actor: _Field = "",
    object_kind: _Field = "",
    object_id: _Field = "",
    action: _Field = "",
    site: _Field = "",
    since: _Field = "",
    until: _Field = "",
    text: _Field = "",
) -> Template:
    """Changes, newest first. A field that is left empty is no filter: that is how a browser sends a form."""
    given = {
        "actor": actor, "object_kind": object_kind, "object_id": object_id, "action": action, "site": site,
        "since": since, "until": until, "text": text,
    }  # fmt: skip
    wanted = _wanted({name: value.strip() for name, value in given.items()})
    found, following = await entries_page(parts, wanted, person_of(request).sites, after=after, limit=PAGE_SIZE)
    return page(
        request,
        parts,
        "audit.html",
        "/audit",
        entries=[{"entry": entry, "changes": changes(entry)} for entry in found],
        fields=[(name, label, given[name]) for name, label in FIELDS],
        next_link=None if following is None else address_of("/audit", wanted, after=following),
        first_link=None if after is None else address_of("/audit", wanted),
        exports=[(kind, address_of("/api/v1/audit/export", wanted, format=kind)) for kind in ("csv", "jsonl")],
    )


def _wanted(given: dict[str, str]) -> Wanted:
    try:
        return msgspec.convert({name: value for name, value in given.items() if value}, Wanted, strict=False)
    except msgspec.ValidationError as error:
        raise ProblemError(400, f"{error} (expected a date and time such as 2026-11-20T12:00:00Z)") from error


def changes(entry: EntryOut) -> list[tuple[str, str, str]]:
    """(field, old, new) of what differs; one line without a field's name where there are no fields."""
    old, new = entry.old, entry.new
    if not isinstance(old, dict | None) or not isinstance(new, dict | None):
        return [("", _shown(old), _shown(new))]
    before, after = old or {}, new or {}
    names = [*before, *(name for name in after if name not in before)]
    shown = [(name, _shown(before.get(name)), _shown(after.get(name))) for name in names]
    return [line for line in shown if line[1] or line[2]]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

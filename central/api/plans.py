"""What the routes of submissions, tests, plates and worklists share: fields, revisions, refusals."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Annotated, Any, Final

import msgspec
from litestar.params import PathParameter, QueryParameter

from central.laboratory.comparing import ConflictError, Step
from central.laboratory.editing import RefusedError, StaleError, UnknownError
from central.laboratory.worklist import WorklistError
from central.people.sites import MAIN_SITE, Sites
from central.web.problems import FieldError, ProblemError
from central.web.revisions import stale

LAB_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$"
UUID: Final = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
PRINTABLE: Final = r"^[^\x00-\x1f\x7f]*$"
MOST_SHOWN: Final = 200

LabName = Annotated[str, msgspec.Meta(pattern=LAB_ID + r"(?!\n)", examples=["S-1001"])]
Text100 = Annotated[str, msgspec.Meta(max_length=100, pattern=PRINTABLE + r"(?!\n)")]
Text200 = Annotated[str, msgspec.Meta(max_length=200, pattern=PRINTABLE + r"(?!\n)")]
Text2000 = Annotated[str, msgspec.Meta(max_length=2000, pattern=PRINTABLE + r"(?!\n)")]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1000, pattern=PRINTABLE + r"(?!\n)")]
Id = Annotated[str, msgspec.Meta(pattern=UUID + r"(?!\n)")]

TestPath = Annotated[str, PathParameter(pattern=UUID, description="Id of the test.")]
PlatePath = Annotated[str, PathParameter(pattern=UUID, description="Id of the plate.")]
SiteChoice = Annotated[
    str | None, QueryParameter(pattern=LAB_ID, description="The laboratory; needed where the caller has several.")
]


class FieldsOfSubmission(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What is known of where sera come from. A field that is null is emptied, one that is left out stays."""

    received_on: date | msgspec.UnsetType | None = msgspec.UNSET
    species: Text100 | msgspec.UnsetType | None = msgspec.UNSET
    farm: Text100 | msgspec.UnsetType | None = msgspec.UNSET
    flock: Text100 | msgspec.UnsetType | None = msgspec.UNSET
    age_days: Annotated[int, msgspec.Meta(ge=0, le=100_000)] | msgspec.UnsetType | None = msgspec.UNSET
    vaccine: Text200 | msgspec.UnsetType | None = msgspec.UNSET
    vaccinated_on: date | msgspec.UnsetType | None = msgspec.UNSET
    customer: Text200 | msgspec.UnsetType | None = msgspec.UNSET
    note: Text2000 | msgspec.UnsetType | None = msgspec.UNSET


class FieldsOfTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What is known of a test: the assay that is planned, and its antigen."""

    profile: Annotated[str, msgspec.Meta(max_length=64, pattern=PRINTABLE)] | msgspec.UnsetType | None = msgspec.UNSET
    antigen: Text100 | msgspec.UnsetType | None = msgspec.UNSET
    antigen_lot: Text100 | msgspec.UnsetType | None = msgspec.UNSET
    hau: Annotated[int, msgspec.Meta(ge=1, le=4096)] | msgspec.UnsetType | None = msgspec.UNSET


class VoidIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why something is void from now on, for ever."""

    reason: Reason


class RevisionOut(msgspec.Struct, frozen=True):
    """What a change made: the thing's id, and its revision now (also its `ETag`)."""

    id: str
    revision: int


def given(fields: msgspec.Struct, *names: str) -> dict[str, Any]:
    """The fields that a body says anything of."""
    wanted = names or fields.__struct_fields__
    return {name: value for name in wanted if (value := getattr(fields, name)) is not msgspec.UNSET}


def site_for(sites: Sites, wanted: str | None) -> str:
    """The laboratory that a caller means: the one that is named, or his only one."""
    if wanted is not None:
        if wanted not in sites:
            raise ProblemError(404, f"no laboratory {wanted!r} here")
        return wanted
    if sites.ids is None:
        return MAIN_SITE
    if len(sites.ids) != 1:
        raise ProblemError(
            422, "no laboratory said (expected site, one of " + (", ".join(sorted(sites.ids)) or "none") + ")"
        )
    return next(iter(sites.ids))


@contextmanager
def refusals() -> Iterator[None]:
    """What the laboratory's modules refuse, as answers."""
    try:
        yield
    except StaleError as error:
        since = [
            FieldError("/", f"{entry.at:%Y-%m-%d %H:%M:%S} UTC, {entry.action}: {entry.new}") for entry in error.since
        ]
        raise stale(str(error), error.revision, since) from error
    except UnknownError as error:
        raise ProblemError(404, str(error.args[0])) from error
    except ConflictError as error:
        raise conflict(error) from error
    except WorklistError as error:
        found = [FieldError(f"/{each.line}/{each.column or ''}", each.words) for each in error.errors]
        raise ProblemError(422, f"{len(found)} errors in the worklist", errors=found) from error
    except RefusedError as error:
        raise ProblemError(422, str(error)) from error


def conflict(error: ConflictError) -> ProblemError:
    """The refusal of a plan that something stands against."""
    steps = () if error.preview is None else error.preview.conflicts[:MOST_SHOWN]
    return ProblemError(409, str(error), errors=[field_error(step) for step in steps])


def field_error(step: Step) -> FieldError:
    """What stands in the way, by line of the file."""
    return FieldError(f"/{step.line}/{step.kind}", f"{step.name}: {step.what}")

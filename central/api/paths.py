"""Names in addresses. A submission may hold `/`, which a path cannot: there it is written `~1`, as in RFC 6901.

No name of ours holds `~`, so the way back is unambiguous.
"""

from typing import Annotated, Final
from urllib.parse import quote, urlencode

from litestar.params import PathParameter, QueryParameter

from central.web.problems import ProblemError

# What identities are made of (`protocol.messages.LabId`); anything else is refused before the database sees it.
_LAB_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$"
_DEVICE_ID: Final = r"^[a-z0-9][a-z0-9-]{2,62}$"

SubmissionFilter = Annotated[str | None, QueryParameter(pattern=_LAB_ID, description="Only this submission.")]
TestFilter = Annotated[str | None, QueryParameter(pattern=_LAB_ID, description="Only this test.")]
DeviceFilter = Annotated[str | None, QueryParameter(pattern=_DEVICE_ID, description="Only this device.")]
Limit = Annotated[int, QueryParameter(ge=1, le=200, description="At most so many items.")]
After = Annotated[int | None, QueryParameter(ge=1, le=2**53, description="`next` of the page before.")]

SubmissionPath = Annotated[
    str, PathParameter(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:~-]{0,127}$", description="Submission; `/` is written `~1`.")
]
DevicePath = Annotated[str, PathParameter(pattern=_DEVICE_ID, description="Device id.")]
RunPath = Annotated[str, PathParameter(pattern=r"^[0-9a-f-]{36}$", description="The reading's UUIDv7.")]
LetterPath = Annotated[int, PathParameter(ge=1, le=2**53, description="Number of the dead letter.")]
Sha256Path = Annotated[
    str, PathParameter(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the picture, hexadecimal.")
]


def segment(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name.replace("/", "~1"), safe=":")


def from_segment(text: str) -> str:
    """The name that a segment stands for; the server has undone the percent signs already."""
    return text.replace("~1", "/")


def with_query(path: str, **values: object) -> str:
    """An address with the values that are set."""
    query = urlencode({name: value for name, value in values.items() if value is not None})
    return f"{path}?{query}" if query else path


def missing(kind: str, name: str) -> ProblemError:
    """The refusal for something that is not here."""
    return ProblemError(404, f"no {kind} {name!r} here")

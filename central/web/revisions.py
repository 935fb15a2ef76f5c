"""Changes by revision: who changes a thing names the revision that he saw, as `If-Match: "7"`.

Without it 428, with another one than the thing has 412: what changed meanwhile is in `errors`.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from litestar import Request

from central.web.problems import FieldError, ProblemError

# The revision; after it what `etags` says of everything that is shown with it, which a change does not depend on.
_TAG: Final = re.compile(r'"([1-9][0-9]{0,8})(?:-[0-9a-f]{1,64})?"')


def seen_revision(request: Request[Any, Any, Any]) -> int:
    """The revision that the caller saw."""
    found = request.headers.get("if-match")
    if found is None:
        raise ProblemError(428, 'no If-Match (expected the revision that was seen, like If-Match: "7")')
    tag = _TAG.fullmatch(found.strip())
    if tag is None:
        raise ProblemError(400, f'If-Match {found[:40]!r} (expected one revision in quotes, like "7")')
    return int(tag[1])


def revision_tag(revision: int) -> str:
    """The strong ETag of a thing at a revision."""
    return f'"{revision}"'


def stale(detail: str, revision: int, changed: Sequence[FieldError] = ()) -> ProblemError:
    """The refusal of a change to something that is at another revision by now."""
    return ProblemError(412, detail, {"etag": revision_tag(revision)}, changed)

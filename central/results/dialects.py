"""Pure: summaries → the bytes of the files that a LIMS reads. Byte-exact; golden files in tests/data hold them.

LF, no byte-order mark, no quoting. A value that would need quoting is refused: an importer that does not expect it
would put a number into the wrong field.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

# The file has a row for each of these and for no other.
LABWARE_ENDPOINTS: Final = range(13)

_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*")
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")


def labware(submission: str, test: str | None, distribution: Mapping[int, int]) -> bytes:
    """The `labware` interface file: total, then the number of sera at endpoints 0 to 12."""
    for value in (submission, test or submission):
        if not _PLAIN.fullmatch(value):
            raise ValueError(f"not a laboratory's number: {value[:80]!r} (expected letters, digits and . _ : / - only)")
    beyond = {k: count for k, count in distribution.items() if count and k not in LABWARE_ENDPOINTS}
    if beyond:
        raise ValueError(f"sera at endpoints {sorted(beyond)} (expected 0 to {LABWARE_ENDPOINTS[-1]} in this file)")
    rows = [("No.", sum(distribution.values())), *((str(k), distribution.get(k, 0)) for k in LABWARE_ENDPOINTS)]
    lines = ["SAMPLE_NUMBER,TEST_NUMBER,REPORTED_NAME,ENTRY"]
    lines += [f"{submission},{test or submission},{name},{entry}" for name, entry in rows]
    return ("\n".join(lines) + "\n").encode("ascii")


def labware_name(submission: str, at: datetime) -> str:
    """File name of the `labware` interface file, with the time of export in UTC; `/` and `:` become `_`."""
    return f"interface_{_NOT_IN_A_NAME.sub('_', submission)}_{at.astimezone(UTC):%Y%m%d_%H%M%S}.csv"

"""Pure: summaries → the bytes of the files that a LIMS reads. Byte-exact; golden files in tests/data hold them."""

from collections.abc import Mapping
from datetime import datetime


def labware(submission: str, test: str | None, distribution: Mapping[int, int]) -> bytes:
    """The `labware` interface file: total, then the number of sera at endpoints 0 to 12."""
    raise NotImplementedError


def labware_name(submission: str, at: datetime) -> str:
    """File name of the `labware` interface file, with the time of export in UTC."""
    raise NotImplementedError

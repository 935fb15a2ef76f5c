"""How fast the audit trail is verified: a million entries, beside nothing but hashing as many lines of that length."""

import hashlib
from datetime import timedelta

import pytest

from central.audit.chain import BEFORE_THE_FIRST, COLUMNS, hash_of
from central.audit.verify import Tip, verify
from tests.benchmarks.rounds import side_by_side
from tests.make import NOON

pytestmark = pytest.mark.benchmark

ENTRIES = 1_000_000


def entries() -> list[tuple[object, ...]]:
    """A trail as a database gives it."""
    rows, previous = [], BEFORE_THE_FIRST
    old, new = '{"call":"flowing","revision":3}', '{"call":"button","revision":4}'
    for number in range(1, ENTRIES + 1):
        at = NOON + timedelta(seconds=number)
        who = ("person", "5f0c8a52-0000-4000-8000-000000000001", "10.0.0.7", "main")
        what = (
            "run.correct",
            "run",
            f"019a0000-0000-7000-8000-{number:012d}",
            old,
            new,
            "edge of the well",
            "0123456789abcdef",
        )
        row = (number, at, *who, *what, previous, "")
        previous = hash_of(row)
        rows.append((*row[:-1], previous))
    assert len(rows[0]) == len(COLUMNS)
    return rows


def test_a_million_entries_are_verified() -> None:
    rows = entries()
    tip = Tip(ENTRIES, str(rows[-1][-1]))
    line = b"x" * 400

    def whole() -> int:
        report = verify(rows, tip, [])
        assert report.intact
        return report.entries

    def hashing() -> int:
        for _ in range(ENTRIES):
            hashlib.sha256(line).hexdigest()
        return ENTRIES

    side_by_side("verify an audit trail, entries", {"verify": whole, "SHA-256 over 400 bytes alone": hashing}, rounds=3)

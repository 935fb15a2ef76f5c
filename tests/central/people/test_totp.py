"""One-time codes: those of RFC 6238, good once and not for long, from a secret that only its own seal opens."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from central.people.totp import DIGITS, STEP_S, code_at, good_step
from central.seal import Seal, SealError
from tests.make import NOON

SECRET = b"12345678901234567890"
STEP = int(NOON.timestamp()) // STEP_S


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_codes_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    assert code_at(SECRET, seconds // STEP_S) == code[-DIGITS:]
    assert good_step(SECRET, code[-DIGITS:], datetime.fromtimestamp(seconds, UTC), None) == seconds // STEP_S


def test_the_step_before_and_after_are_taken_and_no_other() -> None:
    taken = [by for by in range(-5, 6) if good_step(SECRET, code_at(SECRET, STEP + by), NOON, None) is not None]
    assert taken == [-1, 0, 1]


def test_no_code_up_to_the_last_one_used_is_taken_again() -> None:
    taken = [by for by in (-1, 0, 1) if good_step(SECRET, code_at(SECRET, STEP + by), NOON, STEP) is not None]
    assert taken == [1]


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "\x00"])
def test_what_is_no_code_is_not_taken(code: str) -> None:
    assert good_step(SECRET, code, NOON, None) is None


def test_a_sealed_secret_is_opened_for_its_owner_by_its_key_only(tmp_path: Path) -> None:
    seal = Seal.load(tmp_path)
    sealed = seal.close(SECRET, "anna")
    assert SECRET not in sealed
    assert Seal.load(tmp_path).open(sealed, "anna") == SECRET
    for opener, owner, kept in (
        (seal, "berta", sealed),
        (Seal(bytes(32)), "anna", sealed),
        (seal, "anna", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (seal, "anna", b""),
    ):
        with pytest.raises(SealError):
            opener.open(kept, owner)

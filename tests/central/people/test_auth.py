"""Passwords, tokens and the delay after failed sign-ins: without a database."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from central.people.passwords import PasswordRefusedError, check_password, hash_password, verify_password
from central.people.throttle import ACCOUNT_TRIES, ACCOUNT_WINDOW, FREE_TRIES, LONGEST_DELAY_S, Throttle
from central.people.tokens import TokenKey
from tests.central.web import PASSWORD
from tests.make import NOON


@pytest.mark.parametrize(
    "password",
    ["short", "password123", "Password1234!", "1234567890", "aaaaaaaaaaaaaaaa", "anna-maria", "qwertyuiop", "x" * 300],
)
def test_a_password_that_is_guessed_first_is_refused_without_repeating_it(password: str) -> None:
    with pytest.raises(PasswordRefusedError) as refusal:
        check_password(password, "anna-maria")
    assert password not in str(refusal.value)


@pytest.mark.parametrize("password", [PASSWORD, "e3b0-c442-98fc-1c14", "8" + "0123456789" * 8, "Пароль из слов и 42"])
def test_a_long_password_needs_no_particular_signs(password: str) -> None:
    check_password(password, "anna")


@pytest.mark.usefixtures("costly_passwords")
def test_a_password_is_kept_as_argon2id_with_46_mib() -> None:
    stored = hash_password(PASSWORD)
    assert stored.startswith("$argon2id$v=19$m=47104,t=1,p=1$")
    assert verify_password(stored, PASSWORD)
    assert not verify_password(stored, PASSWORD + "!")


def test_nobody_has_a_password_that_matches() -> None:
    assert not verify_password(None, PASSWORD)


def test_the_signing_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    token = TokenKey.load(tmp_path).issue("u1", "api", NOON, session_id="s1")
    assert TokenKey.load(tmp_path).read(token, "api", NOON) is not None
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_api_token_lives_a_quarter_of_an_hour_and_a_cookie_a_week(tmp_path: Path) -> None:
    key = TokenKey.load(tmp_path)
    lives = {"api": timedelta(minutes=15), "pages": timedelta(days=7), "ticket": timedelta(minutes=5)}
    for audience, life in lives.items():
        token = key.issue("u1", audience, NOON, session_id="s1")  # type: ignore[arg-type]
        second = timedelta(seconds=1)
        assert key.read(token, audience, NOON + life - second) is not None  # type: ignore[arg-type]
        assert key.read(token, audience, NOON + life + second) is None  # type: ignore[arg-type]


def test_a_session_is_no_api_token_and_the_other_way_round(tmp_path: Path) -> None:
    key = TokenKey.load(tmp_path)
    assert key.read(key.issue("u1", "pages", NOON, session_id="s1"), "api", NOON) is None
    assert key.read(key.issue("u1", "api", NOON, session_id="s1"), "pages", NOON) is None


def test_each_failure_doubles_the_wait_up_to_a_minute() -> None:
    throttle, waits = Throttle(), []
    for _ in range(12):
        throttle.failed("anna", "10.0.0.9", NOON)
        waits.append(throttle.wait_s("anna", "10.0.0.9", NOON))
    assert waits[: FREE_TRIES + 3] == [0, 0, 1, 2, 4, 8]
    assert waits[-1] == LONGEST_DELAY_S


def test_guessing_from_many_addresses_uses_up_what_an_account_takes_in_a_quarter_of_an_hour() -> None:
    throttle = Throttle()
    for number in range(ACCOUNT_TRIES):
        assert throttle.wait_s("anna", f"10.0.0.{number}", NOON) == 0
        throttle.failed("anna", f"10.0.0.{number}", NOON)
    assert throttle.wait_s("anna", "10.9.9.9", NOON) == ACCOUNT_WINDOW.total_seconds()
    assert throttle.wait_s("anna", "10.9.9.9", NOON + ACCOUNT_WINDOW) == 0
    assert throttle.wait_s("berta", "10.9.9.9", NOON) == 0


@pytest.mark.parametrize("addresses", [1, 7, 100_000])
def test_of_a_hundred_thousand_guesses_in_an_hour_fewer_than_a_hundred_are_looked_at(addresses: int) -> None:
    throttle, looked_at = Throttle(), 0
    for number in range(100_000):
        at = NOON + timedelta(hours=1) * (number / 100_000)
        address = f"2001:db8:{number % addresses >> 16:x}:{number % addresses & 0xFFFF:x}::{number:x}"
        if throttle.wait_s("anna", address, at) == 0:
            throttle.failed("anna", address, at)
            looked_at += 1
    assert 50 < looked_at <= 100


@pytest.mark.parametrize("addresses", [1, 7, 100_000])
def test_whoever_guesses_the_owner_is_never_kept_out_for_longer_than_a_quarter_of_an_hour(addresses: int) -> None:
    throttle, elsewhere_s = Throttle(), 0.0
    throttle.know("anna", "10.0.0.1")
    for number in range(20_000):
        at = NOON + timedelta(hours=2) * (number / 20_000)
        address = f"2001:db8:0:{number % addresses:x}::1"
        if throttle.wait_s("anna", address, at) == 0:
            throttle.failed("anna", address, at)
        assert throttle.wait_s("anna", "10.0.0.1", at) == 0
        elsewhere_s = max(elsewhere_s, throttle.wait_s("anna", "10.9.9.9", at))
    assert elsewhere_s <= 15 * 60
    assert addresses > 1 or elsewhere_s == 0  # one address alone does not slow the owner anywhere


def test_an_address_of_the_same_ipv6_network_is_the_same_guesser() -> None:
    throttle = Throttle()
    for number in range(FREE_TRIES + 3):
        throttle.failed(f"user{number}", f"2001:db8::{number:x}", NOON)
    assert throttle.wait_s("anna", "2001:db8::ffff:1", NOON) > 1
    assert throttle.wait_s("anna", "2001:db8:0:1::1", NOON) == 0


def test_guessing_many_accounts_slows_the_address() -> None:
    throttle = Throttle()
    for number in range(10):
        throttle.failed(f"user{number}", "10.0.0.9", NOON)
    assert throttle.wait_s("somebody", "10.0.0.9", NOON) > 30


def test_guessing_from_elsewhere_does_not_slow_the_owner_at_a_known_address() -> None:
    throttle = Throttle()
    throttle.succeeded("anna", "10.0.0.1")
    for _ in range(50):
        throttle.failed("anna", "10.6.6.6", NOON)
    assert throttle.wait_s("anna", "10.0.0.1", NOON) == 0
    assert throttle.wait_s("anna", "10.6.6.6", NOON) > 0


def test_failures_are_forgotten_after_an_hour() -> None:
    throttle = Throttle()
    for _ in range(20):
        throttle.failed("anna", "10.0.0.9", NOON)
    throttle.failed("anna", "10.0.0.9", NOON + timedelta(hours=2))
    assert throttle.wait_s("anna", "10.0.0.9", NOON + timedelta(hours=2)) == 0

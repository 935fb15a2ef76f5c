"""docs/limits.md, data.md, logs.md and keys.md say what the code does: numbers, tables, events and key files."""

import importlib
import re
from datetime import timedelta
from pathlib import Path

import pytest

from central.people import passwords
from central.people.passwords import PasswordRefusedError, check_password
from central.tables import metadata
from protocol import sealing

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = {path: path.read_text() for path in (ROOT / "central").rglob("*.py")}
LIMITS = (DOCS / "limits.md").read_text()
NAMED = re.findall(r"^\| (.+?) \| (.+?) \| `([a-z0-9_.]+\.[A-Za-z_.]+)` \|$", LIMITS, re.MULTILINE)
# What opens connections, listens, or names the errors of what does.
CALL_OUT = {
    *(f"deliveries/targets/{name}.py" for name in ("addresses", "s3", "sftp", "webhook")),
    *("deliveries/places.py", "mail.py", "fleet/broker.py", "intake/link.py", "people/oidc.py", "serve.py"),
}
UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "bytes": 1, "signs": 1, "s": 1, "min": 60, "h": 3600, "d": 86_400}


def in_code(name: str) -> float:
    """The value of `central.module.NAME`, times in seconds."""
    parts = name.split(".")
    at = next(at for at in range(len(parts) - 1, 0, -1) if (ROOT / "/".join(parts[:at])).with_suffix(".py").exists())
    found = importlib.import_module(".".join(parts[:at]))
    for part in parts[at:]:
        found = getattr(found, part)
    return found.total_seconds() if isinstance(found, timedelta) else float(found)  # type: ignore[arg-type]


def in_words(said: str) -> float:
    """`25 MiB`, `15 min`, `3,000`."""
    number, _, unit = said.replace(",", "").partition(" ")
    return float(number) * (UNITS[unit] if unit else 1)


@pytest.mark.parametrize(("what", "said", "name"), NAMED, ids=[name for _, _, name in NAMED])
def test_a_limit_is_what_the_page_says(what: str, said: str, name: str) -> None:
    assert in_words(said) == in_code(name), what


def test_many_limits_were_looked_at() -> None:
    assert len(NAMED) >= 35


def test_every_rule_between_fields_names_the_test_that_shows_it() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests" / "central").rglob("test_*.py"))
    rules = LIMITS.partition("## Rules between fields")[2].partition("\n## ")[0]
    named = re.findall(r"\| `(test_[a-z_]+)` \|$", rules, re.MULTILINE)
    assert len(named) >= 12
    assert [name for name in named if not re.search(rf"def {name}\(", tests)] == []


def test_the_page_says_the_words_that_no_password_is() -> None:
    told = set(re.findall(r"`([a-z]+)`", LIMITS.partition("## Passwords")[2]))
    assert told == passwords._OF_THE_FIELD
    assert f"{passwords.MIN_LENGTH} to {passwords.MAX_LENGTH} characters" in LIMITS
    for word in told:
        with pytest.raises(PasswordRefusedError):
            check_password(word if len(word) >= passwords.MIN_LENGTH else f"{word}!!2026!!2026", "anna")


def test_every_table_has_a_class_of_data() -> None:
    page = (DOCS / "data.md").read_text().partition("## How each class is held")[0]
    named = set(re.findall(r"`([a-z_]+)`", page))
    assert set(metadata.tables) - named == set(), "in which class are these?"


def test_every_event_of_security_that_is_logged_or_kept_is_on_the_page_of_logs() -> None:
    page = (DOCS / "logs.md").read_text()
    logged, kept = set(), set()
    for text in SOURCES.values():
        logged |= set(re.findall(r"\b_?log\.(?:info|warning|error|exception)\(\s*\"([a-z_]+)\"", text))
        kept |= set(re.findall(r"Change\(\s*f?\"((?:user|key|sessions?|claim|device|central)\.[a-z_{}]+)\"", text))
    assert len(kept) >= 15
    assert {name for name in kept if f"`{name}`" not in page} == set()
    of_security = {name for name in logged if re.match(r"refused|request_failed|sign_in_|broker_refused|audit_", name)}
    assert len(of_security) >= 4
    assert {name for name in of_security if f"`{name}`" not in page} == set()
    for name in re.findall(r"^\| (`[a-z_`, ]+`) \|", page.partition("In the log of central")[2], re.MULTILINE):
        for event in re.findall(r"`([a-z_]+)`", name):
            assert event in logged, f"nobody logs {event}"


def test_every_key_file_is_on_the_page_of_keys() -> None:
    page = (DOCS / "keys.md").read_text()
    made = {path for path, text in SOURCES.items() if "write_once(" in text and path.name != "files.py"}
    files = {name for path in made for name in re.findall(r"\"([a-z-]+(?:key|key\.json|key\.pem))\"", SOURCES[path])}
    assert files == {"signing-key.json", "sealing-key", "audit-key.pem"}
    assert {name for name in files if f"| `{name}` |" not in page} == set()


def test_the_page_of_keys_says_what_the_code_costs_a_guesser() -> None:
    page = (DOCS / "keys.md").read_text()
    assert f"scrypt, N = {sealing._SCRYPT_N}, r = 8, p = 1" in page
    source = SOURCES[ROOT / "central" / "people" / "passwords.py"]
    found = re.search(r"time_cost=(\d+), memory_cost=(\d+) \* 1024, parallelism=(\d+)", source)
    assert found is not None
    assert f"argon2id, {found[2]} MiB, {found[1]} round, {found[3]} lane" in page


def test_pages_link_to_one_another_and_to_what_is_there() -> None:
    for name in ("limits", "data", "logs", "keys"):
        page = (DOCS / f"{name}.md").read_text()
        for target in re.findall(r"\]\(([a-z/]+\.md)", page):
            assert (DOCS / target).is_file(), f"{name}.md: {target}"


def test_the_page_of_data_says_everybody_whom_central_talks_to() -> None:
    page = (DOCS / "data.md").read_text().partition("## Where it goes")[2].lower()
    targets = {path.stem for path in (ROOT / "central" / "deliveries" / "targets").glob("*.py")}
    assert {"email", "folder", "s3", "sftp", "webhook"} <= targets
    for name in ("mail server", "folder", "s3", "sftp", "webhook", "database", "broker", "openid provider"):
        assert re.search(rf"^\| {name}", page, re.MULTILINE), name
    callers = {
        path.relative_to(ROOT / "central").as_posix()
        for path, text in SOURCES.items()
        if re.search(r"\bhttpx\.|import socket|smtplib|paho\.mqtt|asyncssh|obstore", text)
    }
    assert callers - CALL_OUT == set(), "whom does it call, and is that on the page?"

"""`wellread-central audit`: the trail of a data folder is signed, verified and taken out, central running or not."""

import json
import sqlite3
from pathlib import Path

from click.testing import CliRunner, Result

from central.__main__ import main
from central.audit.start import facts
from central.settings import Settings

PASSWORD = "a horse that reads plates"


def run(folder: Path, *words: str) -> Result:
    """One command on this data folder."""
    return CliRunner().invoke(main, [*words, "--data-dir", str(folder)], input=f"{PASSWORD}\n", catch_exceptions=False)


def central(folder: Path) -> Path:
    """A central with three changes, and a head of them."""
    for name in ("anna", "berta", "carla"):
        found = run(folder, "user", "add", name, "--role", "viewer", "--password-stdin")
        assert found.exit_code == 0, found.output
    assert run(folder, "audit", "head").exit_code == 0
    return folder


def sabotage(folder: Path, *statements: str) -> None:
    """What somebody can who has the database file."""
    with sqlite3.connect(folder / "central.db") as file:
        for trigger in ("audit_entries_update", "audit_entries_delete"):
            file.execute(f"DROP TRIGGER frozen_{trigger}")
        for statement in statements:
            file.execute(statement)
    file.close()


def test_an_intact_trail_is_said_to_be_intact(tmp_path: Path) -> None:
    found = run(central(tmp_path), "audit", "verify")
    assert (found.exit_code, "the trail is intact" in found.output) == (0, True)


def test_an_entry_that_was_changed_is_named_and_the_command_fails(tmp_path: Path) -> None:
    central(tmp_path)
    sabotage(tmp_path, "UPDATE audit_entries SET actor_id = 'nobody' WHERE number = 2")
    found = run(tmp_path, "audit", "verify", "--json")
    assert found.exit_code == 1
    assert [finding["number"] for finding in json.loads(found.output)["findings"]] == [2]


def test_an_end_that_was_cut_off_with_its_tip_is_told_by_a_head_that_was_kept_elsewhere(tmp_path: Path) -> None:
    central(tmp_path)
    kept = tmp_path / "elsewhere"
    (tmp_path / "audit-heads").rename(kept)
    key = json.loads(run(tmp_path, "audit", "head", "--json").output)["public_key"]
    sabotage(
        tmp_path,
        "DELETE FROM audit_entries WHERE number > 1",
        "UPDATE audit_tip SET (number, hash) = (SELECT number, hash FROM audit_entries)",
        "DROP TRIGGER frozen_audit_heads_delete",
        "DELETE FROM audit_heads",
    )
    for path in (tmp_path / "audit-heads").iterdir():
        path.unlink()
    assert run(tmp_path, "audit", "verify").exit_code == 0  # nothing here knows any more
    found = run(tmp_path, "audit", "verify", "--heads", str(kept), "--public-key", key)
    assert found.exit_code == 1
    assert found.output.startswith("entry 2: the end is cut off")


def test_a_backup_is_verified_where_it_lies(tmp_path: Path) -> None:
    central(tmp_path)
    assert run(tmp_path, "backup", str(tmp_path / "b.tar")).exit_code == 0
    found = run(tmp_path, "audit", "verify", "--backup", str(tmp_path / "b.tar"))
    assert (found.exit_code, "the trail is intact" in found.output) == (0, True)


def test_the_trail_goes_into_a_file_whose_last_line_is_its_head(tmp_path: Path) -> None:
    found = run(central(tmp_path), "audit", "export", str(tmp_path / "trail.jsonl"))
    *entries, last = [json.loads(line) for line in (tmp_path / "trail.jsonl").read_text().splitlines()]
    assert found.output.endswith(f"{len(entries)} entries\n")
    assert last["head"]["number"] == entries[-1]["number"]


def test_an_empty_trail_cannot_be_signed(tmp_path: Path) -> None:
    assert run(tmp_path, "migrate").exit_code == 0
    found = run(tmp_path, "audit", "head")
    assert (found.exit_code, "expected at least one entry" in found.output) == (1, True)


def test_a_start_says_the_version_and_no_secret() -> None:
    plain = Settings(broker_password="one", database_url="postgresql+asyncpg://u:one@db/w")
    other = Settings(broker_password="two", database_url="postgresql+asyncpg://u:two@db/w")
    assert facts(plain) == facts(other)
    assert facts(plain) != facts(Settings(broker_password="one", database_url="postgresql+asyncpg://u:one@elsewhere/w"))
    assert facts(plain)["version"]

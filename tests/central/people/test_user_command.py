"""`wellread-central user …`, from an empty folder."""

from pathlib import Path

from click.testing import CliRunner

from central.__main__ import main
from tests.central.web import PASSWORD


def run(folder: Path, *words: str, typed: str | None = None) -> tuple[int, str]:
    """Exit status and what was printed."""
    result = CliRunner().invoke(main, ["user", *words, "--data-dir", str(folder)], input=typed)
    return result.exit_code, result.output


def test_people_are_added_invited_changed_and_shut_out(tmp_path: Path) -> None:
    assert run(tmp_path, "add", "anna", "--role", "admin", "--password-stdin", typed=PASSWORD + "\n")[0] == 0
    status, printed = run(tmp_path, "invite", "berta", "--role", "operator")
    assert (status, "/join/" in printed) == (0, True)
    assert run(tmp_path, "role", "berta", "reviewer")[0] == 0
    assert run(tmp_path, "disable", "berta")[0] == 0
    assert "berta  disabled  sites: main" in run(tmp_path, "list")[1]
    assert run(tmp_path, "enable", "berta")[0] == 0
    assert "berta  reviewer  sites: main" in run(tmp_path, "list")[1]


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    run(tmp_path, "add", "anna", "--role", "admin", "--password-stdin", typed=PASSWORD + "\n")
    status, printed = run(tmp_path, "disable", "anna")
    assert (status, "last administrator" in printed) == (1, True)
    status, printed = run(tmp_path, "link", "nobody")
    assert (status, "no user 'nobody'" in printed) == (1, True)
    assert "no site 'mars'" in run(tmp_path, "invite", "berta", "--role", "viewer", "--site", "mars")[1]

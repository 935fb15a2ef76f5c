"""`wellread-central profile`: from a file to the version that counts."""

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from central.__main__ import main
from protocol.assay import Call
from tests.make import HI, replace

OWN = replace(HI, version=1001, title="Ours", inhibited=(Call.FLOWING, Call.PARTIAL))


@pytest.fixture
def folder(tmp_path: Path, migrated_file: Path) -> Path:
    """A data folder with an empty database, and a profile's file in it."""
    (tmp_path / "central.db").write_bytes(migrated_file.read_bytes())
    (tmp_path / "ours.json").write_bytes(msgspec.json.encode(OWN))
    (tmp_path / "bad.json").write_bytes(msgspec.json.encode(replace(OWN, version=2, first_dilution=0)))
    return tmp_path


def profile(folder: Path, *words: str, data: bool = True) -> Result:
    """A command of the group."""
    arguments = ["profile", *words, *(["--data-dir", str(folder)] if data else [])]
    return CliRunner().invoke(main, arguments, env={"WELLREAD_DATA_DIR": str(folder)})


def test_a_file_is_checked_before_anything_else(folder: Path) -> None:
    good = profile(folder, "check", str(folder / "ours.json"), data=False)
    assert (good.exit_code, "hi-96@1001 is sound" in good.output) == (0, True)
    bad = profile(folder, "check", str(folder / "bad.json"), data=False)
    assert (bad.exit_code, "first_dilution 0" in bad.output) == (1, True)


def test_a_version_is_added_tried_activated_and_listed(folder: Path) -> None:
    assert profile(folder, "add", str(folder / "ours.json")).exit_code == 0
    again = profile(folder, "add", str(folder / "ours.json"))
    assert (again.exit_code, "here already" in again.output) == (1, True)
    tried = profile(folder, "trial", "hi-96", "1001")
    assert "0 of 0 results and 0 grades would change, in 0 runs" in tried.output
    assert profile(folder, "activate", "hi-96", "1001", "--reason", "as we read").exit_code == 0
    listed = profile(folder, "list").output
    assert "hi-96  1001  active  Ours" in listed
    assert "hi-96  1  shipped  " in listed


@pytest.mark.parametrize("words", [("trial", "hi-96", "7"), ("activate", "hi-97", "1001", "--reason", "x")])
def test_what_is_not_here_is_said_in_one_line(folder: Path, words: tuple[str, ...]) -> None:
    found = profile(folder, *words)
    assert (found.exit_code, "no assay profile" in found.output, "Traceback" in found.output) == (1, True, False)

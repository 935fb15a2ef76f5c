"""Files are whole or as they were before."""

import stat
from pathlib import Path

import pytest

from edge_agent.durable import make_folder, write_durably


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "enrolment.json"
    write_durably(path, b"first", mode=0o600)
    write_durably(path, b"second", mode=0o600)
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "enrolment.json"
    write_durably(path, b"first")
    (tmp_path / ".enrolment.json.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        write_durably(path, b"second")
    assert path.read_bytes() == b"first"
    assert not (tmp_path / "elsewhere").exists()


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()

"""A wrong configuration or model stops the photographs and nothing else, for as long as it is wrong."""

from pathlib import Path
from threading import Event
from typing import Any

import pytest

from edge_agent.config import PREFIX, load_config
from edge_agent.safe_mode import wait_until_right, what_is_left
from edge_agent.troubles import Troubles
from edge_agent.vision import ModelMismatch
from tests.make import NOON


def left(
    tmp_path: Path, text: str, environment: dict[str, str] | None = None, **overrides: Any
) -> tuple[str, str] | None:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    config = what_is_left(path, environment or {}, overrides)
    return config and (str(config.state_dir), config.central.url)


def test_what_is_wrong_is_said_until_it_is_right() -> None:
    said: list[dict[str, Any]] = []
    troubles, wrong = (
        Troubles(lambda: NOON, said.append),
        [ValueError("no seat"), ModelMismatch("sha256"), OSError("x")],
    )

    def equip() -> str:
        if wrong:
            raise wrong.pop(0)
        return "equipped"

    assert wait_until_right(equip, troubles, Event(), every_s=0) == "equipped"
    assert [(event["event"], event["part"]) for event in said] == [
        ("trouble", "configuration"),
        ("mended", "configuration"),
        ("trouble", "model"),
        ("trouble", "configuration"),
        ("mended", "configuration"),
        ("mended", "model"),
    ]
    assert said[0]["detail"] == "no seat; nothing is photographed until it is right"


def test_it_is_no_use_to_wait_when_the_agent_stops() -> None:
    stop = Event()

    def equip() -> None:
        stop.set()
        raise ValueError("wrong")

    assert wait_until_right(equip, Troubles(lambda: NOON, lambda _: None), stop, every_s=0) is None


@pytest.mark.parametrize(
    "mistake", ["seet = 1", 'seat = "nowhere"', 'profile = "hi-97"', "threads = 0", '[camera]\nkind = "polaroid"']
)
def test_the_state_folder_and_central_are_known_whatever_else_is_wrong(tmp_path: Path, mistake: str) -> None:
    text = f'state_dir = "/var/lib/reader"\n{mistake}\n[central]\nurl = "https://central"\n'
    path = tmp_path / "agent.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"agent\.toml|bad configuration"):
        load_config(path, {})
    assert left(tmp_path, text) == ("/var/lib/reader", "https://central")


def test_the_state_folder_is_found_in_a_file_that_is_no_toml(tmp_path: Path) -> None:
    assert left(tmp_path, 'seat = "top-left\n state_dir = "/var/lib/reader"  # here\n') == ("/var/lib/reader", "")


def test_the_environment_and_the_command_line_come_first(tmp_path: Path) -> None:
    text, environment = 'state_dir = "/file"\nseet = 1', {f"{PREFIX}STATE_DIR": "/environment"}
    assert left(tmp_path, text, environment) == ("/environment", "")
    assert left(tmp_path, text, environment, state_dir=Path("/option")) == ("/option", "")


def test_a_file_that_does_not_name_the_folder_means_the_usual_one(tmp_path: Path) -> None:
    assert left(tmp_path, "seet = 1") == ("wellread-agent-state", "")


@pytest.mark.parametrize("text", ["state_dir = 7", "seat = ", 'state_dir = "cut off'])
def test_a_guess_is_good_enough_only_where_a_reader_has_worked(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert left(tmp_path, text) is None
    (tmp_path / "wellread-agent-state").mkdir()
    (tmp_path / "wellread-agent-state" / "outbox.db").touch()
    assert left(tmp_path, text) == ("wellread-agent-state", "")


def test_a_file_that_cannot_be_read_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert what_is_left(tmp_path / "nowhere.toml", {}) is None
    (tmp_path / "agent.toml").write_bytes(b"\xff\xfe")
    assert what_is_left(None, {f"{PREFIX}CONFIG": str(tmp_path / "agent.toml")}) is None

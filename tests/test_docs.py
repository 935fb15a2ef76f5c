"""Documents that would rot are made from the code, or compared with it."""

import re
from pathlib import Path

import click
import pytest

import central.__main__
import edge_agent.__main__
from central.settings import PREFIX, Settings
from protocol.page import protocol_page

DOCS = Path(__file__).parents[1] / "docs"
PROGRAMS = {"wellread-central": central.__main__.main, "wellread-agent": edge_agent.__main__.main}
GUIDES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]


def test_the_protocol_page_is_what_the_protocol_says() -> None:
    assert (DOCS / "protocol.md").read_text() == protocol_page(), "run `make docs`"


def test_every_setting_of_central_is_documented() -> None:
    page = (DOCS / "operations.md").read_text()
    missing = [name for name in Settings.__struct_fields__ if f"`{PREFIX}{name.upper()}`" not in page]
    assert not missing


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_every_command_that_a_page_names_is_there(page: Path) -> None:
    wrong = [" ".join(words) for words in commands_in(page.read_text()) if not is_command(words)]
    assert not wrong


def test_a_command_that_is_not_there_is_found() -> None:
    said = "`wellread-central user marry anna`, and `wellread-agent queue list`, `wellread-agent sing`"
    assert [words for words in commands_in(said) if not is_command(words)] == [
        ["wellread-central", "user", "marry", "anna"],
        ["wellread-agent", "sing"],
    ]


def commands_in(text: str) -> list[list[str]]:
    """The words of each command of ours, up to its first option or anything that stands for something."""
    return [found.split() for found in re.findall(r"wellread-(?:central|agent)(?: [a-z][a-z-]+(?![\w=:./]))+", text)]


def is_command(words: list[str]) -> bool:
    """Whether the program has it; words behind a command that has none below it are its arguments."""
    command: click.Command | None = PROGRAMS[words[0]]
    for word in words[1:]:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(click.Context(command), word)
    return command is not None

"""Configuration: typos named with a suggestion, environment over file, the committed example is the generated one."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from edge_agent.config import Config, example_toml, load_config
from protocol.plate import Seat

EXAMPLE = Path(__file__).parents[2] / "provisioning" / "device" / "agent.example.toml"


def load(tmp_path: Path, text: str = "", **environment: str) -> Config:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return load_config(path, environment)


def test_the_committed_example_is_the_generated_one() -> None:
    assert EXAMPLE.read_text() == example_toml()


def test_every_line_of_the_example_is_a_default() -> None:
    lines = [line.removeprefix("#") for line in example_toml().splitlines() if not line.startswith("# ")]
    values = tomllib.loads("\n".join(lines))
    assert msgspec.convert(values, Config, dec_hook=lambda kind, value: kind(value)) == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('seet = "top-left"', r"agent.toml: unknown key seet \(did you mean seat\?\)"),
        ("[camera]\nwidht = 5", r"unknown key camera.widht \(did you mean camera.width\?\)"),
        ("[kamera]\nwidth = 5", r"unknown key kamera \(did you mean camera\?\)"),
        ("zzz = 1", r"unknown key zzz \(expected one of state_dir, "),
        ("camera = 5", r"camera is 5 \(expected a table of keys\)"),
        ("[camera]\nkind = 'webcam'", r"bad configuration: .*webcam.*camera.kind"),
        ("threads = 0", r"bad configuration: .*>= 1.*threads"),
        ('seat = "left"', "not a seat: 'left'"),
        ('profile = "hi-97"', "unknown assay profile: 'hi-97'"),
        ("seat = ", "is not TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(tmp_path, text)


def test_a_typo_in_the_environment_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"WELLREAD_AGENT_CAMERA__FOLDR: unknown key camera.foldr"):
        load(tmp_path, WELLREAD_AGENT_CAMERA__FOLDR="x")


def test_environment_wins_over_the_file_and_options_over_both(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('threads = 1\nseat = "unknown"\n[camera]\nwidth = 800\ncolour_gains = [1.5, 2]')
    environment = {
        "WELLREAD_AGENT_CAMERA__WIDTH": "900",
        "WELLREAD_AGENT_THREADS": "3",
        "WELLREAD_DATA_DIR": "central's",
    }
    config = load_config(path, environment, {"threads": 4})
    assert (config.camera.width, config.threads, config.parsed_seat) == (900, 4, None)
    assert config.camera.colour_gains == (1.5, 2)


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text('seat = "bottom-right"')
    config = load_config(None, {"WELLREAD_AGENT_CONFIG": str(tmp_path / "bench.toml")})
    assert config.parsed_seat is Seat.BOTTOM_RIGHT


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*agent.toml"):
        load_config(tmp_path / "agent.toml", {})

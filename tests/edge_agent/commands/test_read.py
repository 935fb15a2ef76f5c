"""`wellread-agent read`: text for people, one stable JSON object per photograph for programs, a status for scripts."""

import json
from pathlib import Path

import click
import cv2
import msgspec
import pytest
from click.testing import CliRunner, Result

from edge_agent.commands.read import read
from models.training.render import PlateSpec, render_plate
from tests.make import HI, replace

CALLS = {name: "flowing" if int(name[1:]) <= 6 else "diffuse" for name in HI.format.names()}


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered plate whose rows all flow up to column 6."""
    path = tmp_path_factory.mktemp("photographs") / "plate.jpg"
    cv2.imwrite(str(path), render_plate(11, PlateSpec(calls=CALLS, turn_deg=0.0))[0])
    return path


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """A letter that somebody called a photograph."""
    path = tmp_path / "letter.jpg"
    path.write_text("Dear laboratory")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(read, [str(argument) for argument in arguments])


def test_command_is_what_the_agent_registers() -> None:
    assert isinstance(read, click.Command)
    assert read.name == "read"


def test_plate_is_printed_with_its_endpoints(photo: Path) -> None:
    result = run(photo)
    assert result.exit_code == 0
    assert "  A F F F F F F D D D D D D" in " ".join(result.stdout.split()).replace(" A F", "  A F")
    assert "1:64" in result.stdout


def test_assumed_seat_is_said_beside_the_result(photo: Path) -> None:
    assert "seat top-left assumed" in run(photo).stderr
    assert "assumed" not in run("--seat", "top-left", photo).stderr


def test_json_is_one_object_per_photograph(photo: Path, text_file: Path) -> None:
    result = run("--json", photo, text_file, photo)
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [document["status"] for document in documents] == ["read", "refused", "read"]
    assert [document["photo"] for document in documents] == [str(photo), str(text_file), str(photo)]
    assert result.exit_code == 3


def test_json_of_a_reading_has_the_public_shape(photo: Path) -> None:
    document = json.loads(run("--json", photo).stdout)
    assert document["plate"] == {
        "format": 96,
        "rows": 8,
        "columns": 12,
        "rotation_degrees": 0,
        "mirrored": False,
        "a1_from": "seat",
    }
    assert list(document["wells"]) == list(HI.format.names())
    assert set(document["wells"]["A1"]) == {"call", "confidence", "flags", "candidates", "centre_px", "streak"}
    assert set(document["endpoints"]["A"]) == {"last_flowing", "step_fit", "grade", "flags", "reported"}
    assert document["endpoints"]["A"]["last_flowing"] == 6
    assert (document["reason"], document["model"]["name"]) == (None, "hi-wells")
    assert document["timings_ms"]["total"] > 0


def test_another_assay_says_its_own_result_and_nothing_of_flowing(photo: Path) -> None:
    document = json.loads(run("--json", "--profile", "ha-titration", photo).stdout)
    assert set(document["endpoints"]["A"]) == {"by_rule", "step_fit", "grade", "flags", "result"}


def test_a_laboratorys_own_profile_is_read_from_its_file(photo: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_bytes(msgspec.json.encode(replace(HI, name="own", series=HI.series[:2])))
    assert set(json.loads(run("--json", "--profile", own, photo).stdout)["endpoints"]) == {"A", "B"}
    own.write_bytes(msgspec.json.encode(replace(HI, name="own", first_dilution=0)))
    assert "first_dilution 0 (expected at least 1)" in " ".join(run("--profile", own, photo).stderr.split())
    missing = run("--profile", tmp_path / "gone.json", photo)
    assert (missing.exit_code, "expected a readable file" in " ".join(missing.stderr.split())) == (2, True)


def test_json_of_a_refusal_has_the_same_keys(photo: Path, text_file: Path) -> None:
    refused, reading = json.loads(run("--json", text_file).stdout), json.loads(run("--json", photo).stdout)
    assert refused.keys() == reading.keys()
    assert (refused["reason"], refused["plate"], refused["wells"]) == ("not_an_image", None, {})
    assert "Dear" in refused["detail"]


def test_unknown_seat_has_no_endpoints(photo: Path) -> None:
    document = json.loads(run("--json", "--seat", "unknown", photo).stdout)
    assert (document["plate"]["a1_from"], document["endpoints"]) == ("unknown", {})
    assert len(document["wells"]) == 96


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--seat", "middle"), "not a seat: 'middle'"),
        (("--profile", "hi-97"), "unknown assay profile: 'hi-97' (expected one of colour-96"),
        (("--model", "/nowhere"), "/nowhere/manifest.json"),
        (("--threads", "0"), "0 is not in the range"),
    ],
)
def test_wrong_option_ends_with_the_value_and_the_choices(photo: Path, arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments, photo)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())


def test_missing_photograph_is_a_usage_error(tmp_path: Path) -> None:
    result = run(tmp_path / "gone.jpg")
    assert result.exit_code == 2
    assert "gone.jpg" in result.stderr.replace("\n", "")


def test_annotated_picture_is_written(photo: Path, tmp_path: Path) -> None:
    assert run("--annotate", tmp_path / "seen.png", photo).exit_code == 0
    assert cv2.imread(str(tmp_path / "seen.png")).shape == cv2.imread(str(photo)).shape


def test_annotated_pictures_of_equal_names_do_not_overwrite_each_other(photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "plate.jpg"
    other.write_bytes(photo.read_bytes())
    run("--annotate", tmp_path / "seen", photo, other)
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == ["plate-2.read.jpg", "plate.read.jpg"]


def test_photograph_is_never_overwritten(photo: Path) -> None:
    before = photo.read_bytes()
    result = run("--annotate", photo, photo)
    assert result.exit_code == 2
    assert photo.read_bytes() == before


def test_refused_photograph_is_not_drawn(text_file: Path, tmp_path: Path) -> None:
    assert run("--annotate", tmp_path / "seen.png", text_file).exit_code == 3
    assert not (tmp_path / "seen.png").exists()

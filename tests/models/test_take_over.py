"""A release may take networks over from another: the same bytes, and its manifest says so."""

import json
from pathlib import Path

import pytest

from edge_agent.config import SHIPPED_MODEL
from edge_agent.vision import load_model
from models.training.floats import FLOAT_FILES, load_float_model
from models.training.take_over import FILES, take_over, training_notes


def test_files_taken_over_are_the_same_bytes_and_nothing_else_is_left(tmp_path: Path) -> None:
    take_over(SHIPPED_MODEL, tmp_path, ["wells", "legends"])
    assert {path.name for path in tmp_path.iterdir()} == {"model.tflite", "legends.tflite"}
    for network in ("wells", "legends"):
        assert (tmp_path / FILES[network]).read_bytes() == (SHIPPED_MODEL / FILES[network]).read_bytes()


def test_notes_say_what_was_taken_over_and_what_was_trained(tmp_path: Path) -> None:
    (tmp_path / "calls.json").write_text(json.dumps({"renders": 3, "steps": 2, "minutes": 1.0}))
    source = release_with_notes(tmp_path / "hi-wells-v8", {"wells": {"renders": 5}, "legends": {"renders": 6}})
    notes = training_notes(tmp_path, source, ["wells", "legends"])
    assert notes["calls"] == {"renders": 3, "steps": 2, "minutes": 1.0}
    assert notes["wells"] == {"taken_over_from": "hi-wells-v8", "renders": 5}


def test_a_network_taken_over_twice_names_the_release_that_trained_it(tmp_path: Path) -> None:
    wells = {"taken_over_from": "hi-wells-v8", "renders": 5}
    source = release_with_notes(tmp_path / "hi-wells-v9", dict.fromkeys(FILES, wells))
    assert training_notes(tmp_path, source, FILES)["wells"] == wells


def release_with_notes(folder: Path, notes: dict[str, dict[str, object]]) -> Path:
    """A release of which only the notes of its training are read."""
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"training": notes}))
    return folder


def test_a_network_without_a_note_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"wells\.json"):
        training_notes(tmp_path, None, [])


def test_a_network_that_was_taken_over_runs_as_int8_beside_the_float_ones(tmp_path: Path) -> None:
    # Any network that an interpreter can open stands in for the float one here.
    (tmp_path / FLOAT_FILES["calls"]).write_bytes((SHIPPED_MODEL / FILES["calls"]).read_bytes())
    model = load_model(SHIPPED_MODEL)
    mixed = load_float_model(model, tmp_path)
    assert mixed is not None
    assert mixed.wells_interpreter is model.wells_interpreter
    assert mixed.calls_interpreter is not model.calls_interpreter

"""Which titres would change between two releases: differences are listed, sameness is silent."""

from pathlib import Path

import cv2
import pytest

from edge_agent.config import SHIPPED_MODEL
from models.training.compare import PLATE, changes, main
from models.training.render import PlateSpec, render_plate

RELEASE = SHIPPED_MODEL


def test_equal_titres_are_no_change() -> None:
    assert changes({"A": "1:8", "B": "1:2"}, {"A": "1:8", "B": "1:2"}) == []


def test_every_differing_row_is_listed() -> None:
    assert changes({"A": "1:8", "B": "1:2"}, {"A": "1:16", "B": "1:2"}) == [("A", "1:8", "1:16")]


def test_a_picture_that_only_one_reads_is_a_change() -> None:
    found = changes({PLATE: "refused: blurred"}, {"A": "1:8"})
    assert found == [("A", "not read", "1:8"), (PLATE, "refused: blurred", "not read")]


def test_two_refusals_change_no_titre() -> None:
    assert changes({PLATE: "refused: blurred"}, {PLATE: "refused: too_dark"}) == []


def test_a_release_agrees_with_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "plate.jpg"), render_plate(5, PlateSpec(size_px=(1000, 720)))[0])
    assert main([str(RELEASE), str(RELEASE), str(tmp_path)]) == 0
    assert "0 changes in 1 pictures" in capsys.readouterr().out


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pictures"):
        main([str(RELEASE), str(RELEASE), str(tmp_path)])

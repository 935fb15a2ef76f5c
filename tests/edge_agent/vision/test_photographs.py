"""Real photographs with labels: the bar for HI plates, and never a shifted lattice on anybody's plate."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.vision import Model, PlateView, Refused, read_plate
from protocol.endpoint import plate_endpoints
from protocol.plate import Seat, parse_seat
from tests.edge_agent.vision.conftest import frame
from tests.make import HI


def read(model: Model, path: Path, seat: Seat | None = Seat.TOP_LEFT) -> PlateView:
    return read_plate(frame(path.read_bytes(), path.name), HI, model=model, seat=seat)


def labels(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


@pytest.fixture(scope="module")
def plate_62(model: Model, plates: Path) -> tuple[PlateView, dict[str, Any]]:
    """The photograph of the HI plate 62 and its labels."""
    return read(model, plates / "hi" / "hi-plate-62.jpg"), labels(plates / "hi" / "hi-plate-62.json")


def test_plate_62_flows_where_people_say(plate_62: tuple[PlateView, dict[str, Any]]) -> None:
    view, truth = plate_62
    clear = {name: call for name, call in truth["wells"].items() if name not in truth["ambiguous"]}
    right = sum((view.wells[name].call == "flowing") == (call == "flowing") for name, call in clear.items())
    assert right >= 90


def test_plate_62_endpoints_are_within_one_dilution(plate_62: tuple[PlateView, dict[str, Any]]) -> None:
    view, truth = plate_62
    for row, endpoint in plate_endpoints(view.wells, HI).items():
        wanted = truth["endpoint_last_flowing_column"][row]
        assert abs(endpoint.last_flowing - wanted) <= 1
        assert abs(endpoint.step_fit - wanted) <= 1


@pytest.mark.parametrize("name", ["hi-plate-62", "hi-plate-three-wells"])
def test_corner_wells_are_where_people_put_them(model: Model, plates: Path, name: str) -> None:
    view = read(model, plates / "hi" / f"{name}.jpg")
    for well, place in labels(plates / "hi" / f"{name}.json")["corner_well_centres"].items():
        apart = np.hypot(*np.subtract(view.wells[well].centre_px, place))
        assert apart < 0.25 * view.plate.pitch_px


def test_three_wells_with_cells_and_no_other(model: Model, plates: Path) -> None:
    view = read(model, plates / "hi" / "hi-plate-three-wells.jpg")
    filled = {name for name, well in view.wells.items() if well.call != "empty"}
    assert filled == {"D8", "E6", "E8"}


def test_no_lattice_is_ever_shifted(model: Model, plates: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photographs = sorted(path for path in plates.glob("other/*/*") if path.suffix in {".jpg", ".png"})
    outcomes = {path: outcome(model, path) for path in photographs}
    with capsys.disabled():
        print(f"\nplates of others: {dict(Counter(outcomes.values()).most_common())} of {len(outcomes)}")
    assert [path.name for path, found in outcomes.items() if found == "wrong"] == []


def outcome(model: Model, path: Path) -> str:
    """`right`, `wrong`, or why the photograph was refused, with the seat that its label names."""
    label = path.with_suffix(".json")
    known = labels(label)["plates"] if label.is_file() else []
    try:
        view = read(model, path, parse_seat(known[0]["a1"]["where"]) if known else Seat.TOP_LEFT)
    except Refused as refused:
        return refused.reason
    return "right" if any(is_plate(view, plate) for plate in known) else "wrong"


def is_plate(view: PlateView, plate: dict[str, Any]) -> bool:
    """Whether all four corner wells lie within half a pitch of the labelled ones."""
    corners = list(plate["corners"].values()) if isinstance(plate["corners"], dict) else plate["corners"]
    places = [view.wells[name].centre_px for name in ("A1", "A12", "H1", "H12")]
    apart = np.hypot(*(np.array(places) - np.array(corners)).T)
    return bool((plate["rows"], plate["cols"]) == (8, 12) and (apart < 0.5 * view.plate.pitch_px).all())

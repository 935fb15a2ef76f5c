"""The synthetic camera: its truth is exact, its pictures repeat, and its code can be scanned."""

import numpy as np
import pytest
import zxingcpp
from numpy.typing import NDArray

from models.training.cells import VEIL_BOUNDARY, veil_votes
from models.training.render import CLASSES, PlateSpec, Truth, render_deck, render_plate, render_stage
from models.training.spec import FORMATS, project, well_names

SMALL = (800, 575)


def rim_brightness(image: NDArray[np.uint8], truth: Truth, shift_px: tuple[float, float]) -> float:
    """How white the picture is along circles of the rims' size around the shifted truth."""
    turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    radius = 0.93 * truth.rim_radius_px[:, None, None]
    points = np.rint(truth.centres_px[:, None] + radius * circle + np.array(shift_px)).astype(int)
    return float(image[points[..., 1], points[..., 0]].min(axis=-1).mean())


def test_same_seed_same_bytes() -> None:
    spec = PlateSpec(size_px=SMALL, difficulty="varied")
    first, second = render_plate(5, spec), render_plate(5, spec)
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].calls == second[1].calls


def test_another_seed_is_another_plate() -> None:
    spec = PlateSpec(size_px=SMALL)
    assert render_plate(1, spec)[1].calls != render_plate(2, spec)[1].calls


@pytest.mark.parametrize("turn_deg", [0, 92, 180, 268])
def test_true_centres_fall_on_the_rims(turn_deg: float) -> None:
    image, truth = render_plate(11, PlateSpec(size_px=SMALL, turn_deg=turn_deg))
    step = 0.12 * float(np.hypot(*(truth.centres_px[1] - truth.centres_px[0])))
    here = rim_brightness(image, truth, (0, 0))
    assert here > max(rim_brightness(image, truth, shift) for shift in [(step, 0), (-step, 0), (0, step), (0, -step)])


def test_index_homography_gives_the_same_centres() -> None:
    _, truth = render_plate(3, PlateSpec(size_px=SMALL))
    row, column = np.mgrid[0:8, 0:12].reshape(2, -1)
    assert np.allclose(project(truth.index_to_px(), np.stack([column, row], axis=1)), truth.centres_px)


def test_a_turned_plate_keeps_its_names() -> None:
    _, upright = render_plate(3, PlateSpec(size_px=SMALL, turn_deg=0))
    _, turned = render_plate(3, PlateSpec(size_px=SMALL, turn_deg=180))
    assert upright.centres_px[0, 0] < SMALL[0] / 2 < turned.centres_px[0, 0]
    assert upright.centres_px[0, 1] < SMALL[1] / 2 < turned.centres_px[0, 1]


def test_prescribed_calls_are_drawn() -> None:
    calls = {name: CLASSES[index % 5] for index, name in enumerate(well_names(8, 12))}
    _, truth = render_plate(1, PlateSpec(calls=calls, size_px=SMALL))
    assert {name: truth.call(name) for name in calls} == calls


def test_red_cells_lie_where_cells_were_prescribed() -> None:
    calls = {name: "flowing" if index % 2 else "empty" for index, name in enumerate(well_names(8, 12))}
    image, truth = render_plate(4, PlateSpec(calls=calls))
    redness = []
    for x, y in np.rint(truth.centres_px).astype(int):
        well = image[y - 20 : y + 20, x - 20 : x + 20].astype(int)
        redness.append(int((well[..., 2] - well[..., 1]).max()))
    assert min(redness[1::2]) > max(redness[0::2])


def test_plain_tears_are_unambiguous() -> None:
    _, truth = render_plate(2, PlateSpec(size_px=SMALL))
    assert float(truth.soft_calls.max(axis=1).min()) > 0.99


def test_varied_tears_can_be_ambiguous() -> None:
    soft = render_plate(
        2, PlateSpec(calls=dict.fromkeys(well_names(8, 12), "flowing"), size_px=SMALL, difficulty="varied")
    )[1].soft_calls
    assert np.allclose(soft.sum(axis=1), 1)
    assert (soft.max(axis=1) < 0.95).any()


def test_rows_are_titrations() -> None:
    _, truth = render_plate(7, PlateSpec(size_px=SMALL))
    for row in np.array(truth.calls).reshape(8, 12):
        flowing = np.flatnonzero(row == "flowing")
        assert flowing.tolist() == list(range(len(flowing)))


@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_the_code_can_be_scanned(turn_deg: float) -> None:
    image, _ = render_plate(int(turn_deg), PlateSpec(code="S-1001,NDV,1", turn_deg=turn_deg))
    assert [found.text for found in zxingcpp.read_barcodes(image)] == ["S-1001,NDV,1"]


@pytest.mark.parametrize("plate_format", sorted(FORMATS))
def test_every_format_is_drawn(plate_format: int) -> None:
    spec = PlateSpec(size_px=(640, 480), plate_format=plate_format, contents="generic", difficulty="varied")
    image, truth = render_plate(1, spec)
    assert image.shape == (480, 640, 3)
    assert len(truth.centres_px) == plate_format == truth.rows * truth.columns


def test_a_stage_without_a_plate() -> None:
    image = render_stage(1, (320, 240), "varied")
    assert image.shape == (240, 320, 3)
    assert image.dtype == np.uint8


def test_a_deck_shows_several_plates_apart() -> None:
    _, truths = render_deck(3, PlateSpec(size_px=(640, 480), difficulty="varied"))
    assert len(truths) > 1
    middles = np.array([truth.plate_quad_px.mean(axis=0) for truth in truths])
    length = float(np.hypot(*(truths[0].plate_quad_px[3] - truths[0].plate_quad_px[0])))
    apart = np.hypot(*np.moveaxis(middles[:, None] - middles[None], 2, 0))[~np.eye(len(truths), dtype=bool)]
    assert apart.min() > 0.5 * length


def test_a_faint_veil_divides_the_panel() -> None:
    votes = veil_votes(np.array([0.0, VEIL_BOUNDARY, 0.5]))
    assert np.allclose(votes[:, CLASSES.index("diffuse")], [0, 0.5, 1], atol=0.02)
    assert np.allclose(votes.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("calls", "plate_format"), [({"I1": "empty"}, 96), ({"A13": "empty"}, 96), ({"A1": "red"}, 96), (None, 95)]
)
def test_what_cannot_be_drawn_is_refused(calls: dict[str, str] | None, plate_format: int) -> None:
    with pytest.raises(ValueError, match="not a"):
        PlateSpec(calls=calls, plate_format=plate_format)

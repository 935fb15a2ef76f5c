"""Wells lost to glare are obscured, never guessed; rims that shine are no glare."""

from pathlib import Path

import numpy as np
import pytest

from edge_agent.vision import Model, read_plate
from edge_agent.vision.glare import glare_share, lost_to_glare
from edge_agent.vision.patches import Image, cut_patches
from models.training.glare import KINDS, Kind, lay_glare
from models.training.render import PlateSpec, render_plate
from models.training.spec import Truth, well_names
from protocol.assay import Call
from protocol.plate import Seat
from tests.edge_agent.vision.conftest import frame, jpeg
from tests.make import HI

WELLS = ("A1", "B5", "C7", "D12", "F3", "G9", "H6")


@pytest.fixture(scope="module")
def plate() -> tuple[Image, Truth]:
    """A rendered plate with shining rims and no glare."""
    return render_plate(31, PlateSpec(turn_deg=0.0))


def cut(image: Image, truth: Truth) -> Image:
    return cut_patches(image, truth.index_to_px(), 8, 12, 64, 0.9)


def test_shining_rims_are_no_glare(plate: tuple[Image, Truth]) -> None:
    assert glare_share(cut(*plate), 0.9).max() < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_well_whose_cells_are_lost_is_seen_as_lost(plate: tuple[Image, Truth], kind: Kind) -> None:
    lit, share = lay_glare(1, plate[0], plate[1], WELLS, kind)
    lost = lost_to_glare(cut(lit, plate[1]), 0.9)
    assert lost[share > 0.5].all()
    assert not lost[share < 0.1].any()


def test_haze_and_a_white_card_are_no_glare(plate: tuple[Image, Truth]) -> None:
    patches = cut(*plate).astype(float)
    for changed in (0.5 * patches + 110, patches * 0.3 + 170):
        assert not lost_to_glare(np.clip(changed, 0, 255).astype(np.uint8), 0.9).any()


def test_glare_counts_only_where_the_cells_lie(plate: tuple[Image, Truth]) -> None:
    patches = cut(*plate)
    patches[0, :8], patches[1, 20:44, 20:44] = 255, 255
    assert lost_to_glare(patches, 0.9)[:2].tolist() == [False, True]


def test_wells_under_glare_are_obscured_in_the_reading(model: Model, plate: tuple[Image, Truth]) -> None:
    lit, share = lay_glare(2, plate[0], plate[1], WELLS, "lamp")
    wells = read_plate(frame(jpeg(lit)), HI, model=model, seat=Seat.TOP_LEFT).wells
    names = well_names(8, 12)
    for well in (wells[name] for name, lost in zip(names, share, strict=True) if lost > 0.5):
        assert (well.call, well.confidence, well.candidates) == (Call.OBSCURED, 0, {})
        assert "glare" in well.flags
        assert well.streak is None
    assert not [n for n, lost in zip(names, share, strict=True) if lost < 0.1 and wells[n].call is Call.OBSCURED]


@pytest.mark.parametrize("name", ["hi-plate-62", "hi-plate-three-wells"])
def test_no_well_of_the_photographs_is_obscured(model: Model, plates: Path, name: str) -> None:
    content = (plates / "hi" / f"{name}.jpg").read_bytes()
    wells = read_plate(frame(content), HI, model=model, seat=Seat.TOP_LEFT).wells
    assert [name for name, well in wells.items() if well.call is Call.OBSCURED] == []

"""Every well has a state: called, or openly not read."""

from types import SimpleNamespace

import numpy as np
import pytest

from edge_agent.vision.calls import call_wells
from edge_agent.vision.detector import CALLS_CLASSES
from edge_agent.vision.image import Photograph
from edge_agent.vision.quality import measure_light
from edge_agent.vision.refusal import Refused
from protocol.assay import Call
from tests.edge_agent.vision.scenes import PICTURE, make_scene
from tests.make import HI

NETWORK = SimpleNamespace(classes=CALLS_CLASSES, temperature=1.0, patch_pitches=0.9)
PATCHES = np.full((96, 64, 64, 3), 90, np.uint8)
# Something of a rim in each, so that none is lost to haze.
PATCHES[:, 10:14] = 200


def called(logits=(0, 0, 0, 0, 9), patches=PATCHES, scene=None, picture=PICTURE, scale=1.0):
    scene = scene or make_scene()
    manifest = SimpleNamespace(networks=SimpleNamespace(calls=NETWORK))
    model = SimpleNamespace(manifest=manifest, call_logits=lambda _: np.tile(np.array(logits, float), (96, 1)))
    image = np.zeros((picture[1], picture[0], 3), np.uint8)
    photograph = Photograph(image, round(picture[0] * scale), round(picture[1] * scale), "image/jpeg")
    return call_wells(model, patches, measure_light(patches, 0.9, HI), scene.place(), photograph, HI)


def test_every_well_of_the_plate_has_a_state() -> None:
    assert tuple(called()) == HI.format.names()


@pytest.mark.parametrize("index", range(5))
def test_call_is_the_likeliest_class(index: int) -> None:
    well = called(np.eye(5)[index] * 8)["C7"]
    assert well.call == Call(CALLS_CLASSES[index])
    assert well.confidence == well.candidates[well.call] > 0.99


def test_candidates_are_all_above_a_twentieth_best_first() -> None:
    well = called(np.log([0.5, 0.3, 0.1, 0.06, 0.04]))["A1"]
    assert list(well.candidates) == [Call.FLOWING, Call.BUTTON, Call.PARTIAL, Call.DIFFUSE]


@pytest.mark.parametrize(("share", "flags"), [(0.59, ("low_confidence",)), (0.61, ())])
def test_low_confidence_is_the_profiles_limit(share: float, flags: tuple[str, ...]) -> None:
    rest = (1 - share) / 4
    assert called(np.log([share, rest, rest, rest, rest]))["A1"].flags == flags


def test_clear_well_without_cells_is_empty_not_negative() -> None:
    assert called()["H12"].call is Call.EMPTY


def test_well_placed_by_the_lattice_is_called_and_flagged() -> None:
    wells = called(scene=make_scene().without(column=11))
    assert wells["A12"].call is Call.EMPTY
    assert wells["A12"].flags == ("not_seen",)
    assert wells["A11"].flags == ()


def test_well_under_glare_is_obscured() -> None:
    patches = PATCHES.copy()
    patches[0, 16:48, 16:48] = 255
    wells = called(patches=patches)
    assert (wells["A1"].call, wells["A1"].flags, wells["A1"].candidates) == (Call.OBSCURED, ("glare",), {})
    assert wells["A2"].call is Call.EMPTY


def test_well_without_contrast_is_obscured() -> None:
    patches = PATCHES.copy()
    patches[0] = 180
    wells = called(patches=patches)
    assert (wells["A1"].call, wells["A1"].flags, wells["A1"].candidates) == (Call.OBSCURED, ("haze",), {})
    assert wells["A2"].call is Call.EMPTY


def test_wells_that_were_not_found_and_look_like_no_well_are_obscured() -> None:
    patches = PATCHES.copy()
    patches[[14, 15], :, :] = np.linspace(60, 200, 64)[None, :, None]
    wells = called(patches=patches, scene=make_scene().without_wells(["B3", "B4", "D5"]))
    assert [wells[name].call for name in ("B3", "B4", "D5")] == [Call.OBSCURED, Call.OBSCURED, Call.EMPTY]
    assert wells["B3"].flags == ("covered", "not_seen")


def test_something_over_the_plate_is_refused() -> None:
    patches = PATCHES.copy()
    patches[[14, 15, 27], :, :] = np.linspace(60, 200, 64)[None, :, None]
    with pytest.raises(Refused, match=r"covered: something lies over 3 wells, B3 to C4"):
        called(patches=patches, scene=make_scene().without_wells(["B3", "B4", "C4"]))


def test_wells_outside_the_picture_are_no_cover() -> None:
    scene = make_scene().without(column=11)
    patches = PATCHES.copy()
    patches[11::12] = 90
    edge = int(scene.centres_px[11, 0])
    assert called(patches=patches, scene=scene, picture=(edge, PICTURE[1]))["A12"].call is Call.NOT_READ


def test_well_outside_the_picture_is_not_read() -> None:
    scene = make_scene()
    edge = int(scene.centres_px[10, 0] + 0.6 * scene.pitch_px)
    wells = called(scene=scene, picture=(edge, PICTURE[1]))
    assert wells["A12"].call is Call.NOT_READ
    assert "out_of_picture" in wells["A12"].flags
    assert wells["A11"].call is Call.EMPTY


def test_centres_are_in_the_pixels_of_the_photograph() -> None:
    small, large = called()["D5"].centre_px, called(scale=2.0)["D5"].centre_px
    assert large == pytest.approx([2 * small[0] + 0.5, 2 * small[1] + 0.5], abs=0.02)

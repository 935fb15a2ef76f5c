"""Light, blur, motion, haze and glare: what a person could not read either is refused, with what to do about it."""

import cv2
import numpy as np
import pytest

from edge_agent.vision import quality
from edge_agent.vision.blur import Blur, measure_blur, regions
from edge_agent.vision.quality import check_light, measure_light
from edge_agent.vision.refusal import Refused
from protocol.assay import AssayProfile
from protocol.plate import FORMATS, PlateFormat
from tests.make import HI


def uniform(level: int, noise: float = 0) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.clip(level + rng.normal(0, noise, (480, 640, 3)), 0, 255).astype(np.uint8)


def rings(blur_px: float = 0.0) -> np.ndarray:
    """Patches of a sharp rim, blurred if asked."""
    patch = np.full((64, 64, 3), 90, np.uint8)
    cv2.circle(patch, (32, 32), 26, (230, 230, 230), 4)
    cv2.circle(patch, (32, 34), 7, (150, 30, 40), -1)
    if blur_px:
        patch = cv2.GaussianBlur(patch, (0, 0), blur_px)
    return np.tile(patch, (96, 1, 1, 1))


def check_wells(patches: np.ndarray, form: PlateFormat, pitch_px: float, profile: AssayProfile) -> dict[str, float]:
    light = measure_light(patches, 0.9, profile)
    return quality.check_wells(patches, light, 0.9, form, pitch_px, profile)


def measured(patches: np.ndarray) -> Blur:
    return measure_blur(patches[regions(8, 12)], 0.9)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (uniform(0), "too_dark"),
        (uniform(12, 3), "too_dark"),
        (uniform(255), "too_bright"),
        (uniform(250, 2), "too_bright"),
        (uniform(128), "no_plate"),
    ],
)
def test_picture_without_light_or_contrast_is_refused(image: np.ndarray, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        check_light(image)
    assert caught.value.reason == reason


def test_light_is_measured_for_the_record() -> None:
    image = uniform(100)
    image[:240] = 255
    assert check_light(image)["white_share"] == 0.5


def test_sharp_wells_pass_and_fog_does_not() -> None:
    assert check_wells(rings(), HI.format, 60, HI)["blur_pitch"] < 0.02
    with pytest.raises(Refused, match=r"blurred: a part of the plate is blurred by .* focus"):
        check_wells(rings(blur_px=6), HI.format, 60, HI)


@pytest.mark.parametrize("blur_pitch", [0.02, 0.03, 0.05, 0.08])
@pytest.mark.parametrize("contrast", [30, 150])
def test_blur_is_measured_in_pitches_whatever_the_contrast(blur_pitch: float, contrast: int) -> None:
    disc = cv2.circle(np.full((64, 64, 3), 90, np.uint8), (32, 32), 20, (90 + contrast,) * 3, -1, cv2.LINE_AA)
    patches = np.tile(cv2.GaussianBlur(disc, (0, 0), blur_pitch * 64 / 0.9), (96, 1, 1, 1))
    assert measured(patches).sigma_pitch == pytest.approx(blur_pitch, rel=0.15)


def test_one_blurred_side_blurs_the_plate() -> None:
    patches = rings()
    patches.reshape(8, 12, 64, 64, 3)[:, 8:] = rings(blur_px=6)[0]
    assert measured(patches).sigma_pitch == pytest.approx(measured(rings(blur_px=6)).sigma_pitch)


def test_motion_is_told_from_blur() -> None:
    assert measured(rings(blur_px=2)).motion_pitch < 0.03
    moved = np.array([cv2.blur(patch, (9, 1)) for patch in rings()])
    assert measured(moved).motion_pitch == pytest.approx(9 / 64 * 0.9, rel=0.35)
    with pytest.raises(Refused, match=r"blurred: plate or camera moved by .* hold them still"):
        check_wells(moved, HI.format, 60, HI)


def test_wells_of_few_pixels_are_refused() -> None:
    with pytest.raises(Refused, match=r"too_small: the wells are 11.0 px apart"):
        check_wells(rings(), HI.format, 11, HI)


def test_wells_in_the_dark_are_refused() -> None:
    with pytest.raises(Refused, match=r"too_dark: the brightest parts of the wells are at 0.18"):
        check_wells(rings() // 5, HI.format, 60, HI)


def test_haze_takes_single_wells_and_then_the_plate() -> None:
    hazy = (200 + rings() // 10).astype(np.uint8)
    light = measure_light(np.concatenate([rings()[:1], hazy[:2]]), 0.9, HI)
    assert light.lost_to_haze(0.14).tolist() == [False, True, True]
    with pytest.raises(Refused, match=r"hazy: the wells have a contrast of 0.0.*clean the lens"):
        check_wells(hazy, HI.format, 60, HI)


def test_a_colour_chart_is_no_plate() -> None:
    colours = np.random.default_rng(3).integers(0, 255, (96, 1, 1, 3), np.uint8)
    chart = np.where(rings()[..., :1] > 200, rings(), colours)
    with pytest.raises(Refused, match=r"no_plate: neighbouring wells differ in colour by"):
        check_wells(chart, HI.format, 60, HI)


@pytest.mark.parametrize("wells", sorted(FORMATS))
def test_every_region_of_every_plate_is_looked_at(wells: int) -> None:
    form = FORMATS[wells]
    found = regions(form.rows, form.columns)
    assert len(set(found.ravel())) == found.size
    assert found.max() < form.wells


def test_plate_whited_out_is_refused() -> None:
    patches = np.full((96, 64, 64, 3), 255, np.uint8)
    patches[:, ::7] = 0
    with pytest.raises(Refused, match="whited out"):
        check_wells(patches, HI.format, 60, HI)

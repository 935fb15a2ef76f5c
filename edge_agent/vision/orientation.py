"""Does the picture contradict the seat? Pieces of evidence, each a log-likelihood ratio, and one decision in words.

The rule it protects: a plate put in turned by 180° must not get through. The seat says where A1 is; the picture may
veto that, never replace it. Each piece of evidence is the log-likelihood of the plate lying as the seat says over its
lying turned by half (positive: as the seat says), close to 0 where there is nothing to see:

  layout   titrations flow on their strong side, controls do as they should (by protocol.endpoint's own likelihoods)
  tears    red cells stream towards the last row, measured in the picture, without the network
  legends  letters and numbers stand where the seat puts them (edge_agent.vision.legends)

Tears only ever contradict: a plate turned in its seat lies on the same tilted stage, so they run down the picture
either way. Pure.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.vision.detector import Model
from edge_agent.vision.geometry import Placed
from edge_agent.vision.legends import LETTERS, NUMBERS, Legends, cut_sides, read_given, read_mirrored, read_turned
from edge_agent.vision.patches import Image
from edge_agent.vision.refusal import Refused
from edge_agent.vision.tensors import Array
from protocol.assay import AssayProfile, Call
from protocol.endpoint import plate_endpoints, step_likelihoods
from protocol.evidence import WellEvidence, evidence
from protocol.messages import Well
from protocol.plate import PlateFormat

Mask = npt.NDArray[np.bool_]
Kind = Literal["layout", "tears", "legends", "mirror"]
Standing = Literal["confirmed", "unconfirmed", "doubted"]

# A contradiction this large refuses the reading: turned is e⁸ ≈ 3,000 times likelier than as the seat says.
CLEAR_LN: Final = 8.0
# From here no row of the reading is graded high, unless the frame's characters settle it.
DOUBTED_LN: Final = 4.0
DOUBTED: Final = "orientation_doubted"
# From here for the seat, with nothing against it, the picture confirms it: as surely as it would have refused.
CONFIRMED_LN: Final = 8.0
UNCONFIRMED: Final = "orientation_unconfirmed"

# Shares of a plate's rows that may be titrations, equally likely; and no row may decide for the plate.
TITRATIONS: Final = np.linspace(0.05, 0.95, 10)
MOST_PER_ROW_LN: Final = 4.0
MOST_PER_CONTROL_LN: Final = 2.0
CONTROL_HOLDS: Final = 0.95

# Cells are this much a* above neutral, within this distance of a well's centre (in pitches); red that reaches farther
# is the rim's, and red of another size is a speck or a stain.
NEUTRAL_A, RED_A, CELLS_RADIUS_PITCH = 128, 8, 0.3
AREA_PITCH2: Final = (0.013, 0.07)
# Clear tears of a photographed plate: length over width 1.22 to 1.78, skew 0.16 to 0.34; its buttons −0.06 to 0.04.
LONGER_THAN_WIDE: Final = 1.15
SKEW_OF_A_TEAR: Final = 0.15
MOST_PER_TEAR_LN: Final = 2.0
# Tears of one plate share their light and their camera, so no more than this many count as independent.
INDEPENDENT_TEARS: Final = 12


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one look at the picture says: `ln` < 0 contradicts the seat, and `words` say how."""

    kind: Kind
    ln: float
    words: str


def orientation_evidence(  # noqa: PLR0917 - picture, place, wells twice, who reads, what is expected
    image_bgr: Image,
    placed: Placed,
    patches_rgb: Image,
    wells: Mapping[str, Well],
    model: Model,
    profile: AssayProfile,
) -> tuple[Evidence, ...]:
    """All that one picture says about how its plate lies."""
    pitches = model.manifest.networks.calls.patch_pitches
    found = (layout_evidence(wells, profile), tears_evidence(patches_rgb, pitches))
    if (placed.form.rows, placed.form.columns) != (len(LETTERS), len(NUMBERS)):
        return found
    sides = cut_sides(image_bgr, placed.homography)
    given, turned = read_given(sides, model.glyph_logits), read_turned(sides, model.glyph_logits)
    # Characters that read one way or the other do not read in a mirror.
    clear = max(given.ln, turned.ln) >= CLEAR_LN
    mirrored = () if clear else read_mirrored(sides, model.glyph_logits)
    return (*found, legends_evidence(given, turned), mirror_evidence(given, turned, mirrored))


def layout_evidence(wells: Mapping[str, Well], profile: AssayProfile) -> Evidence:
    """Whether the series flow on their strong side and the controls pass, against the same plate turned by half."""
    turned = _turned(wells, profile.format)
    given_fits, turned_fits = (
        np.array([_titration_ln([evidence(of[name], profile) for name in series.wells]) for series in profile.series])
        for of in (wells, turned)
    )
    against = int((turned_fits > np.maximum(given_fits, 0) + 1).sum())
    ln = _titrations_ln(given_fits) - _titrations_ln(turned_fits) + _controls_ln(wells, turned, profile)
    words = f"the inhibited wells lie on the weak side in {against} of {len(given_fits)} rows"
    return Evidence("layout", ln, words if against else "the controls lie where the other end's wells should")


def _turned(wells: Mapping[str, Well], form: PlateFormat) -> dict[str, Well]:
    """The wells by the names that they have when the plate is turned by half."""
    return {name: wells[other] for name, other in _opposite(form).items() if other in wells}


def _opposite(form: PlateFormat) -> dict[str, str]:
    """Each well and the one that lies in its place when the plate is turned by half."""
    names = form.names()
    return dict(zip(names, reversed(names), strict=True))


def _titration_ln(row: Sequence[WellEvidence]) -> float:
    """Log-likelihood of a row as a titration with an unknown endpoint, over the same wells in any order."""
    readable = [well for well in row if well.readable]
    if not readable:
        return 0.0
    flowing, count = sum(well.p_inhibited for well in readable), len(readable)
    shuffled = math.lgamma(flowing + 1) + math.lgamma(count - flowing + 1) - math.lgamma(count + 2)
    step = float(np.logaddexp.reduce(step_likelihoods(readable))) - math.log(count + 1)
    return min(step - shuffled, MOST_PER_ROW_LN)


def _titrations_ln(fits: Array) -> float:
    """Log-likelihood of a plate's rows, an unknown share of which are titrations.

    One share for the whole plate: where most rows are none, one that looks like a titration by chance says little.
    """
    rows = np.log(1 - TITRATIONS[:, None] + TITRATIONS[:, None] * np.exp(fits))
    return float(np.logaddexp.reduce(rows.sum(axis=1)))


def _controls_ln(wells: Mapping[str, Well], turned: Mapping[str, Well], profile: AssayProfile) -> float:
    total = 0.0
    for control in profile.controls:
        for name in control.wells if control.expected else ():
            passes = [math.log(_passes(of[name], control.expected)) for of in (wells, turned)]
            total += _limited(passes[0] - passes[1], MOST_PER_CONTROL_LN)
    return total


def _passes(well: Well, expected: Sequence[Call]) -> float:
    """Probability of seeing this well where a control should be; one half where it cannot be read."""
    known = sum(well.candidates.values())
    share = sum(well.candidates.get(call, 0.0) for call in expected) / known if known else 0.5
    return CONTROL_HOLDS * share + (1 - CONTROL_HOLDS) * (1 - share)


def tears_evidence(patches_rgb: Image, patch_pitches: float) -> Evidence:
    """Which way the tears run, in patches whose lower edge faces the last row. Never speaks for the seat."""
    lns = np.clip(2 * _tear_skews(patches_rgb, patch_pitches) / SKEW_OF_A_TEAR, -MOST_PER_TEAR_LN, MOST_PER_TEAR_LN)
    total = float(lns.sum()) * min(1.0, INDEPENDENT_TEARS / max(len(lns), 1))
    words = f"{(lns < -1).sum()} of {len(lns)} tears run towards the first row, against the stage's tilt"
    return Evidence("tears", min(total, 0.0), words)


def _tear_skews(patches_rgb: Image, patch_pitches: float) -> Array:
    """Skewness of each tear along the columns: positive where it tapers towards the last row."""
    red, edge = _red_cells(patches_rgb, patch_pitches)
    side, pixel = red.shape[1], patch_pitches / (patches_rgb.shape[1] // 2)
    count, labels, figures, _ = cv2.connectedComponentsWithStats(red, connectivity=4)
    sizes = figures[:, cv2.CC_STAT_AREA].copy()
    sizes[labels[edge]] = 0  # the background, and what reaches the rim
    patch_of = figures[:, cv2.CC_STAT_TOP] // side
    largest = np.zeros(len(red) // side, np.intp)
    order = np.argsort(sizes, kind="stable")
    largest[patch_of[order]] = order  # the last one written is the largest
    y, x = np.nonzero(red)
    label = labels[y, x]

    def mean(values: Array) -> Array:
        return np.asarray(np.bincount(label, values, count) / np.maximum(np.bincount(label, minlength=count), 1))

    dy, dx = y - mean(y.astype(np.float64))[label], x - mean(x.astype(np.float64))[label]
    tall, wide = np.sqrt(mean(dy**2)), np.sqrt(mean(dx**2))
    skews = mean(dy**3) / np.maximum(tall, 0.1) ** 3
    least_px, most_px = (area / pixel**2 for area in AREA_PITCH2)
    tears = (sizes >= least_px) & (sizes <= most_px) & (tall >= LONGER_THAN_WIDE * wide)
    return np.asarray(skews[largest[tears[largest]]], np.float64)


def _red_cells(patches_rgb: Image, patch_pitches: float) -> tuple[Image, Mask]:
    """Where the middles of patches are as red as cells, one above the other at half their size, and where red would
    touch a rim. The discs keep the cells of two patches apart.
    """
    count, half = patches_rgb.shape[0], patches_rgb.shape[1] // 2
    pixel = patch_pitches / half
    cut = max(0, int(half / 2 - CELLS_RADIUS_PITCH / pixel) - 1)
    side = half - 2 * cut
    offsets = (np.arange(side) + 0.5 - side / 2) * pixel
    distance = np.hypot(*np.meshgrid(offsets, offsets))
    disc = distance < CELLS_RADIUS_PITCH
    edge = disc & (distance > CELLS_RADIUS_PITCH - 1.5 * pixel)
    inside = slice(2 * cut, 2 * (cut + side))
    middles = np.ascontiguousarray(patches_rgb[:, inside, inside]).reshape(-1, 2 * side, 3)
    small = cv2.resize(middles, (side, count * side), interpolation=cv2.INTER_AREA)
    redness = cv2.cvtColor(small, cv2.COLOR_RGB2Lab)[..., 1].reshape(count, side, side)
    red = ((redness > NEUTRAL_A + RED_A) & disc).astype(np.uint8)
    return red.reshape(-1, side), np.tile(edge, (count, 1))


def legends_evidence(given: Legends, turned: Legends) -> Evidence:
    """Whether the frame's characters read better as the seat says or turned by half."""
    words = f"{turned.read} letters and numbers of the frame stand upside down at the opposite edges"
    return Evidence("legends", given.ln - turned.ln, words)


def mirror_evidence(given: Legends, turned: Legends, mirrored: Sequence[Legends]) -> Evidence:
    """Whether the frame's characters only read in a mirror, as through the bottom of a plate."""
    best = max(mirrored, key=lambda legends: legends.ln, default=Legends(0.0, 0))
    words = f"{best.read} letters and numbers of the frame read as in a mirror: the picture shows the plate from below"
    return Evidence("mirror", min(0.0, max(given.ln, turned.ln) - best.ln), words)


def check_orientation(found: Sequence[Evidence]) -> Standing:
    """How the seat stands after a look at the picture; refused where the picture clearly contradicts it.

    Characters that clearly read as the seat says settle how the plate lies: then a layout that runs the other way is
    no turned plate, but still a reason to look, and weaker contradictions are none.
    """
    total = sum(evidence.ln for evidence in found)
    worst = min((evidence.ln for evidence in found), default=0.0)
    settled = any(evidence.kind == "legends" and evidence.ln >= CLEAR_LN for evidence in found)
    vetoes = [evidence for evidence in found if evidence.ln <= -CLEAR_LN]
    if total <= -CLEAR_LN or any(not (settled and evidence.kind == "layout") for evidence in vetoes):
        against = "; ".join(e.words for e in sorted(found, key=lambda e: e.ln) if e.ln <= -DOUBTED_LN / 2)
        raise Refused(
            "orientation_doubted",
            f"{against} (expected the plate to lie as the bench's seat says): turn the plate, or correct the seat",
        )
    if vetoes or total <= -DOUBTED_LN or (worst <= -DOUBTED_LN and not settled):
        return "doubted"
    return "confirmed" if total >= CONFIRMED_LN else "unconfirmed"


def flag_orientation(wells: Mapping[str, Well], standing: Standing, profile: AssayProfile) -> dict[str, Well]:
    """The same wells, each flagged unless the picture confirms the seat, so that no row is graded high.

    A plate that reads the same turned by half, such as one of negative sera only, needs no confirmation.
    """
    if standing == "confirmed" or (standing == "unconfirmed" and _same_turned(wells, profile)):
        return dict(wells)
    flag = DOUBTED if standing == "doubted" else UNCONFIRMED
    return {name: msgspec.structs.replace(well, flags=(*well.flags, flag)) for name, well in wells.items()}


def _same_turned(wells: Mapping[str, Well], profile: AssayProfile) -> bool:
    """Whether the plate would have the same endpoints if it lay turned by half; the same calls, where samples are
    single wells.
    """
    turned = _turned(wells, profile.format)
    if not profile.series:
        return all(turned[name].call is well.call for name, well in wells.items() if name in turned)
    given, other = (
        {row: (one.last_flowing, one.by_rule, one.step_fit) for row, one in plate_endpoints(of, profile).items()}
        for of in (wells, turned)
    )
    return given == other


def evidence_figures(found: Sequence[Evidence]) -> dict[str, float]:
    """The evidence as it travels with a reading's quality figures: each piece and their sum."""
    pieces = {f"orientation_{evidence.kind}_ln": round(evidence.ln, 2) for evidence in found}
    return pieces | {"orientation_ln": round(sum(evidence.ln for evidence in found), 2)}


def _limited(ln: float, most: float) -> float:
    return min(max(ln, -most), most)

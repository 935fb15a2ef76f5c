"""Does the picture contradict the seat? Pieces of evidence, each a log-likelihood ratio, and one decision in words.

The rule it protects: a plate put in turned by 180° must not get through. The seat says where A1 is; the picture may
veto that, never replace it. Each piece of evidence is the log-likelihood of the plate lying as the seat says over its
lying turned by half (positive: as the seat says), close to 0 where there is nothing to see:

  layout   titrations flow on their strong side, controls do as they should (protocol.endpoint's own likelihoods)
  tears    red cells stream towards the last row, measured in the picture, without the network
  legends  letters and numbers stand where the seat puts them (edge_agent.vision.legends)

Tears only ever contradict: a plate turned in its seat lies on the same tilted stage, so they run down the picture
either way. Pure.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import msgspec
import numpy as np

from edge_agent.vision.detector import Model
from edge_agent.vision.geometry import Placed
from edge_agent.vision.legends import LETTERS, NUMBERS, PLACE_PX, SUPERSAMPLING, Legends, read_legends
from edge_agent.vision.patches import Image, Matrix, not_finer
from edge_agent.vision.refusal import Refused
from protocol.assay import AssayProfile, Call
from protocol.endpoint import WellEvidence, evidence, step_likelihoods
from protocol.messages import Well
from protocol.plate import PlateFormat

Kind = Literal["layout", "tears", "legends", "mirror"]

# A contradiction this large refuses the reading: turned is e⁸ ≈ 3,000 times likelier than as the seat says.
CLEAR_LN: Final = 8.0
# From here no row of the reading is graded high, unless the frame's characters settle it.
DOUBTED_LN: Final = 4.0
DOUBTED: Final = "orientation_doubted"

# A row may as well be no titration at all, and no row may decide for the plate.
NO_TITRATION: Final = 0.5
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
    finest = PLACE_PX * SUPERSAMPLING
    grey = np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), np.uint8)
    grey, homography = not_finer(grey, placed.homography, placed.form.rows, placed.form.columns, finest)
    given, turned, *mirrored = (
        read_legends(grey, homography @ view, model.glyph_logits) for view in _views(placed.form)
    )
    return (*found, legends_evidence(given, turned), mirror_evidence(given, turned, mirrored))


def _views(form: PlateFormat) -> tuple[Matrix, ...]:
    """(column, row) of a plate lying as the seat says, turned by half, and mirrored either way, to the seat's."""
    last_column, last_row = form.columns - 1, form.rows - 1
    return tuple(
        np.array([[x, 0, last_column * (x < 0)], [0, y, last_row * (y < 0)], [0, 0, 1]], np.float64)
        for x, y in ((1, 1), (-1, -1), (-1, 1), (1, -1))
    )


def layout_evidence(wells: Mapping[str, Well], profile: AssayProfile) -> Evidence:
    """Whether the series flow on their strong side and the controls pass, against the same plate turned by half."""
    turned = {name: wells[other] for name, other in _opposite(profile.format).items() if other in wells}
    rows = []
    for series in profile.series:
        fits = [_titration_ln([evidence(of[name], profile) for name in series.wells]) for of in (wells, turned)]
        rows.append(_limited(fits[0] - fits[1], MOST_PER_ROW_LN))
    against = sum(ln < -1 for ln in rows)
    ln = sum(rows) + _controls_ln(wells, turned, profile)
    words = f"the inhibited wells lie on the weak side in {against} of {len(rows)} rows"
    return Evidence("layout", ln, words if against else "the controls lie where the other end's wells should")


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
    return float(np.logaddexp(math.log(1 - NO_TITRATION) + step - shuffled, math.log(NO_TITRATION)))


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
    skews = [skew for skew in map(_tear_skew, _red_cells(patches_rgb, patch_pitches)) if skew is not None]
    lns = [_limited(2 * skew / SKEW_OF_A_TEAR, MOST_PER_TEAR_LN) for skew in skews]
    total = sum(lns) * min(1.0, INDEPENDENT_TEARS / max(len(lns), 1))
    against = sum(ln < -1 for ln in lns)
    return Evidence(
        "tears", min(total, 0.0), f"{against} of {len(lns)} tears run towards the first row, against the stage's tilt"
    )


def _red_cells(patches_rgb: Image, patch_pitches: float) -> Iterator[Image]:
    """The largest red blob of each patch that may be cells, as a mask."""
    count, side = patches_rgb.shape[:2]
    offsets = ((np.arange(side) + 0.5) / side - 0.5) * patch_pitches
    distance = np.hypot(*np.meshgrid(offsets, offsets))
    disc = distance < CELLS_RADIUS_PITCH
    edge = disc & (distance > CELLS_RADIUS_PITCH - 1.5 * patch_pitches / side)
    lab = cv2.cvtColor(patches_rgb.reshape(count * side, side, 3), cv2.COLOR_RGB2Lab)
    red = ((lab[..., 1].reshape(count, side, side) > NEUTRAL_A + RED_A) & disc).astype(np.uint8)
    least_px, most_px = (area * (side / patch_pitches) ** 2 for area in AREA_PITCH2)
    for mask in red[red.sum(axis=(1, 2)) >= least_px]:
        _, labels, figures, _ = cv2.connectedComponentsWithStats(mask)
        sizes = figures[:, cv2.CC_STAT_AREA].copy()
        sizes[[0, *labels[edge]]] = 0  # the background, and what reaches the rim
        largest = int(sizes.argmax())
        if least_px <= sizes[largest] <= most_px:
            yield np.asarray(labels == largest, np.uint8)


def _tear_skew(blob: Image) -> float | None:
    """Skewness of a blob along the columns: positive where it tapers towards the last row; None if it is no tear."""
    y, x = np.nonzero(blob)
    if y.std() < LONGER_THAN_WIDE * x.std():
        return None
    return float(((y - y.mean()) ** 3).mean() / y.std() ** 3)


def legends_evidence(given: Legends, turned: Legends) -> Evidence:
    """Whether the frame's characters read better as the seat says or turned by half."""
    words = f"{turned.read} letters and numbers of the frame stand upside down at the opposite edges"
    return Evidence("legends", given.ln - turned.ln, words)


def mirror_evidence(given: Legends, turned: Legends, mirrored: Sequence[Legends]) -> Evidence:
    """Whether the frame's characters only read in a mirror, as through the bottom of a plate."""
    best = max(mirrored, key=lambda legends: legends.ln)
    words = f"{best.read} letters and numbers of the frame read as in a mirror: the picture shows the plate from below"
    return Evidence("mirror", min(0.0, max(given.ln, turned.ln) - best.ln), words)


def check_orientation(found: Sequence[Evidence]) -> bool:
    """Whether the seat is doubted; refused where the picture clearly contradicts it.

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
    return bool(vetoes) or total <= -DOUBTED_LN or (worst <= -DOUBTED_LN and not settled)


def doubt(wells: Mapping[str, Well]) -> dict[str, Well]:
    """The same wells, each flagged, so that no row is graded high."""
    return {name: msgspec.structs.replace(well, flags=(*well.flags, DOUBTED)) for name, well in wells.items()}


def evidence_figures(found: Sequence[Evidence]) -> dict[str, float]:
    """The evidence as it travels with a reading's quality figures."""
    return {f"orientation_{evidence.kind}_ln": round(evidence.ln, 2) for evidence in found}


def _limited(ln: float, most: float) -> float:
    return min(max(ln, -most), most)

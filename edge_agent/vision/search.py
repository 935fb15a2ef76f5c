"""A long look for plates where the usual one was not enough: each plate box, nearer; each grid, asked of the picture.

Each plate that passes the gate of `geometry` is given, once. The rule it protects: what is found here passes the same
gate as a usual look, and where two answers for one plate differ, neither counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from edge_agent.vision.confirm import confirm
from edge_agent.vision.detector import Model
from edge_agent.vision.footprint import plate_bounds
from edge_agent.vision.geometry import Placed, place_plate
from edge_agent.vision.lattice import Grid, fit_grids, fit_homography, inverse, project
from edge_agent.vision.lens import fit_lens, straightened
from edge_agent.vision.patches import Image
from edge_agent.vision.refusal import Refused
from edge_agent.vision.tensors import PLATE, WELL, Array, Detections
from protocol.plate import PlateFormat, Seat

BOX_ROOM: Final = 0.12
ROOM_PITCHES: Final = 1.5
# A cut-out of nearly the whole picture shows the network nothing new.
WORTH_A_LOOK: Final = 0.85
SAME_REGION_IOU, LEAST_REGION_PX = 0.7, 32
MOST_REGIONS: Final = 10
# Each side of a quarter as a share of the whole's: quarters overlap.
QUARTER: Final = 0.6
# Grids taken from one look, one after the other, each from what the one before it left.
MOST_GRIDS, SIZES_TRIED = 3, 3
FEWEST_TRIED, MOST_PER_WELL = 300, 3
# Rims and floors of one plate may lie nearly so far apart; a wrong column is a whole pitch.
AGREEMENT_PITCH: Final = 0.5
# A homography is all that the wells are cut by: one through a lens must put each well as near as this to where it is.
LENS_LEAVES_PITCH: Final = 0.18
# Share of a plate's wells that makes a grid worth a nearer look.
ENOUGH: Final = 0.15


@dataclass(frozen=True, slots=True)
class Asked:
    """What is looked for, and in what."""

    form: PlateFormat
    seat: Seat | None
    grey: Image

    @property
    def picture(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.grey.shape[1], self.grey.shape[0]


def find_plates(image_bgr: Image, model: Model, *, expected: PlateFormat, seat: Seat | None) -> list[Placed | Refused]:
    """Every plate of a format in the picture, as the nearest look has it; then why other candidates were refused."""
    asked = Asked(expected, seat, np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), np.uint8))
    plates: list[tuple[float, Placed]] = []
    refusals: list[Refused] = []
    regions, outlines = [np.array([0, 0, *asked.picture])], np.empty((0, 4))
    for index in range(MOST_REGIONS):
        if index == len(regions) and (plates or not _add_quarters(regions, asked.picture)):
            break
        found = detect_in(image_bgr, regions[index], model)
        outlines = np.concatenate([outlines, found.of(PLATE).boxes])
        for grid, wells in _grids(_best(found.of(WELL), expected)):
            for outcome in _outcomes(grid, wells, outlines, asked):
                if isinstance(outcome, Refused):
                    refusals.append(outcome)
                    continue
                plates.append((_area(regions[index]), outcome))
                _add_neighbours(regions, outcome, asked.picture)
            if len(grid.nodes) >= ENOUGH * expected.wells:
                _add(regions, plate_bounds(grid, expected, ROOM_PITCHES), asked.picture)
        for box in found.of(PLATE).boxes:
            room = BOX_ROOM * max(box[2] - box[0], box[3] - box[1])
            _add(regions, box + room * np.array([-1, -1, 1, 1]), asked.picture)
    return [*_distinct(plates), *refusals]


def _add_quarters(regions: list[Array], picture: tuple[int, int]) -> bool:
    """Nearer looks at the parts of the likeliest region, from one of which the picture may carry on over the plate."""
    if len(regions) < 2:
        return False
    x1, y1, x2, y2 = regions[1]
    before = len(regions)
    size = QUARTER * np.array([x2 - x1, y2 - y1])
    for x, y in ((x1, y1), (x2 - size[0], y1), (x1, y2 - size[1]), (x2 - size[0], y2 - size[1])):
        _add(regions, np.array([x, y, x + size[0], y + size[1]]), picture)
    return len(regions) > before


def _add_neighbours(regions: list[Array], plate: Placed, picture: tuple[int, int]) -> None:
    """Where other plates would stand on a deck: beside this one, on each of its sides."""
    middle = plate.centres_px.mean(axis=0)
    size = np.ptp(plate.centres_px, axis=0) + 4 * plate.pitch_px
    for step in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        centre = middle + size * step
        if (centre > 0).all() and (centre < picture).all():
            _add(regions, np.concatenate([centre - 0.6 * size, centre + 0.6 * size]), picture)


def _outcomes(grid: Grid, wells: Detections, outlines: Array, asked: Asked) -> list[Placed | Refused]:
    """What a grid is, as the detector has it and as the picture does; where that is uncertain, through a lens."""
    looks = [*filter(None, ((grid, wells), confirm(asked.grey, grid, wells)))]
    outcomes = [_outcome(*look, outlines, asked) for look in looks]
    if all(isinstance(one, Refused) and one.reason == "uncertain_lattice" for one in outcomes):
        outcomes += [placed for look in looks if (placed := _through_lens(*look, outlines, asked)) is not None]
    return outcomes


def _outcome(
    grid: Grid, wells: Detections, outlines: Array, asked: Asked, *, outline_agrees: bool = False
) -> Placed | Refused:
    form, seat = asked.form, asked.seat
    try:
        return place_plate(
            grid, wells, outlines, asked.picture, expected=form, seat=seat, outline_agrees=outline_agrees
        )
    except Refused as refused:
        return refused


def _through_lens(grid: Grid, wells: Detections, outlines: Array, asked: Asked) -> Placed | None:
    """The plate that passes the gate once the lens's bend is taken out, where it lies in the picture as it is.

    A bend makes a false column beside the plate look as if it belonged there, so wells alone do not prove their edges.
    """
    centres = wells.centres[grid.members]
    lens = fit_lens(grid, centres, asked.picture)
    straight = None if lens is None else straightened(grid, centres, lens)
    if lens is None or straight is None:
        return None
    placed = _outcome(straight, lens.straight_wells(wells), lens.straight_boxes(outlines), asked, outline_agrees=True)
    if isinstance(placed, Refused):
        return None
    rows, columns = np.mgrid[: asked.form.rows, : asked.form.columns]
    nodes, bent = np.column_stack([columns.ravel(), rows.ravel()]), lens.bent(placed.centres_px)
    homography = fit_homography(nodes, bent)
    if homography is None or np.hypot(*(project(homography, nodes) - bent).T).max() > (
        LENS_LEAVES_PITCH * placed.pitch_px
    ):
        return None
    return replace(placed, homography=homography / homography[2, 2])


def _best(wells: Detections, expected: PlateFormat) -> Detections:
    """The best detections: more of them than this are noise."""
    most = max(FEWEST_TRIED, MOST_PER_WELL * expected.wells)
    return wells.where(np.arange(min(len(wells.scores), most)))


def _area(region: Array) -> float:
    return float(np.prod(region[2:] - region[:2]))


def detect_in(image_bgr: Image, region: Array, model: Model) -> Detections:
    """Plates and wells in a part of a picture, in the picture's pixels."""
    x1, y1, x2, y2 = region.astype(int)
    found = model.detect(image_bgr[y1:y2, x1:x2])
    return Detections(found.boxes + np.array([x1, y1, x1, y1]), found.scores, found.classes)


def _add(regions: list[Array], box: Array, picture: tuple[int, int]) -> None:
    """A region to look at, unless it is too small or too much like one of those there are."""
    region = np.clip(np.rint(box), 0, [*picture, *picture])
    if (region[2:] - region[:2]).min() < LEAST_REGION_PX or _area(region) > WORTH_A_LOOK * picture[0] * picture[1]:
        return
    for other in regions:
        shared = np.prod(np.maximum(np.minimum(region[2:], other[2:]) - np.maximum(region[:2], other[:2]), 0))
        if shared > SAME_REGION_IOU * (_area(region) + _area(other) - shared):
            return
    regions.append(region)


def _grids(wells: Detections) -> Iterator[tuple[Grid, Detections]]:
    """The grids among wells, each with the wells that it was fitted to: largest first, then what lies outside it."""
    for _ in range(MOST_GRIDS):
        grids = fit_grids(wells, SIZES_TRIED)
        if not grids:
            return
        yield from ((grid, wells) for grid in grids)
        largest = max(grids, key=lambda grid: len(grid.nodes))
        wells = wells.where(np.setdiff1d(np.arange(len(wells.scores)), largest.members))


def _distinct(plates: list[tuple[float, Placed]]) -> list[Placed]:
    """Each plate once, as the nearest look has it; not at all where two looks name its wells differently."""
    kept: list[Placed] = []
    doubtful: list[Placed] = []
    for _, plate in sorted(plates, key=lambda look: (look[0], -int(look[1].seen.sum()))):
        rival = next((other for other in kept if _overlap(plate, other)), None)
        if rival is None:
            kept.append(plate)
        elif float(np.abs(rival.centres_px - plate.centres_px).max()) > AGREEMENT_PITCH * rival.pitch_px:
            doubtful.append(rival)
    return [plate for plate in kept if not any(plate is other for other in doubtful)]


def _overlap(plate: Placed, other: Placed) -> bool:
    """Whether the middle of one lies on the other."""
    places = project(inverse(other.homography), plate.centres_px.mean(axis=0, keepdims=True))[0]
    return bool((places > -0.5).all() and (places < (other.form.columns - 0.5, other.form.rows - 0.5)).all())

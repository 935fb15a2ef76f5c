"""Where the plate is: detect in the whole picture, then again in the plate cut out at full resolution.

The second look is what finds small plates (94 against 70 of 116 photographs, measured). Both looks pass the same gate;
if both succeed they must agree, because two answers to "which well is A1" mean that one is wrong. If neither does, the
long look of `search` follows, which asks the picture itself; it takes ten times as long.
"""

from typing import Final

import numpy as np

from edge_agent.vision.detector import Model
from edge_agent.vision.footprint import beside_plate, dominant, plate_bounds, wells_on
from edge_agent.vision.geometry import MIN_COVER, Placed, place_plate
from edge_agent.vision.lattice import Grid, fit_grid
from edge_agent.vision.patches import Image
from edge_agent.vision.refusal import Reason, Refused
from edge_agent.vision.search import BOX_ROOM, detect_in, find_plates
from edge_agent.vision.tensors import PLATE, WELL, Array, Detections
from protocol.plate import PlateFormat, Seat

# The cut-out leaves room for one more row or column than was found.
ROOM_PITCHES: Final = 1.0
# A cut-out of nearly the whole picture shows the network nothing new.
WORTH_A_SECOND_LOOK: Final = 0.85
AGREEMENT_PITCH: Final = 0.3
# Share of a plate's wells from which a grid says better than a box where to look, and from which it is a second plate.
ENOUGH, ANOTHER_PLATE = 0.15, 0.5


# What a longer look may answer; a plate across its seat or of another format has been seen well enough.
SEARCHED: Final[tuple[Reason, ...]] = ("no_plate", "uncertain_lattice", "several_plates")


def locate_plate(image_bgr: Image, model: Model, *, expected: PlateFormat, seat: Seat | None) -> Placed:
    """The plate in a picture, or a refusal that says why it is not certain where its wells are."""
    try:
        return _looked_at_twice(image_bgr, model, expected, seat)
    except Refused as refused:
        if refused.reason not in SEARCHED:
            raise
        return _searched(image_bgr, model, expected, seat, refused)


def _searched(image_bgr: Image, model: Model, expected: PlateFormat, seat: Seat | None, before: Refused) -> Placed:
    """The only plate that a long look finds; where it finds none, or the usual looks saw several, their refusal."""
    outcomes = find_plates(image_bgr, model, expected=expected, seat=seat)
    plates = [outcome for outcome in outcomes if isinstance(outcome, Placed)]
    if len(plates) > 1:
        where = " and ".join("({:.0f}, {:.0f})".format(*plate.centres_px.mean(axis=0)) for plate in plates)
        raise Refused(
            "several_plates",
            f"{len(plates)} plates are in view, around pixels {where} (expected one): cover or remove the others",
        )
    if plates and before.reason != "several_plates":
        return plates[0]
    across = [one for one in outcomes if isinstance(one, Refused) and one.reason == "orientation_mismatch"]
    raise across[0] if across else before


def _looked_at_twice(image_bgr: Image, model: Model, expected: PlateFormat, seat: Seat | None) -> Placed:
    """The plate as it is found in the whole picture and in the part of it where it lies."""
    height, width = image_bgr.shape[:2]
    first = model.detect(image_bgr)
    looks = [(first, fit_grid(first.of(WELL)))]
    region = _region(*looks[0], (width, height), expected)
    if _area(region) < WORTH_A_SECOND_LOOK * width * height:
        closer = detect_in(image_bgr, region, model)
        looks.insert(0, (closer, fit_grid(closer.of(WELL))))
    return _agreed([_placed(found, grid, (width, height), expected, seat) for found, grid in looks])


def _region(found: Detections, grid: Grid | None, picture: tuple[int, int], expected: PlateFormat) -> Array:
    """Where to look again: around the grid of wells, else around the plate box. Refused where there is neither."""
    wells, plates = found.of(WELL), found.of(PLATE)
    if grid is not None and len(grid.nodes) >= ENOUGH * expected.wells:
        window, cover = dominant(grid.nodes)
        form = window.form if cover >= MIN_COVER else expected
        if form is expected:
            _check_alone(grid, wells, expected)
        box = plate_bounds(grid, form, ROOM_PITCHES)
    elif len(plates.scores):
        x1, y1, x2, y2 = plates.boxes[0]
        room = BOX_ROOM * max(x2 - x1, y2 - y1)
        box = np.array([x1 - room, y1 - room, x2 + room, y2 + room])
    else:
        raise Refused("no_plate", f"no plate and {len(wells.scores)} wells were found (expected a plate in full view)")
    return np.clip(np.rint(box), 0, [*picture, *picture])


def _check_alone(grid: Grid, wells: Detections, expected: PlateFormat) -> None:
    """Two plates in view are a question for a person: reading the wrong one is worse than reading none."""
    rest = wells.where(beside_plate(grid, expected, wells.centres))
    other = fit_grid(rest)
    if other is not None and wells_on(other, expected) >= ANOTHER_PLATE * expected.wells:
        raise Refused("several_plates", "more than one plate is in view (expected one): cover or remove the others")


def _area(region: Array) -> float:
    return float(np.prod(region[2:] - region[:2]))


def _placed(
    found: Detections, grid: Grid | None, picture: tuple[int, int], expected: PlateFormat, seat: Seat | None
) -> Placed | Refused:
    """The plate that one look shows, or why it is refused."""
    wells = found.of(WELL)
    if grid is None:
        return Refused("no_plate", f"{len(wells.scores)} wells in no regular pattern (expected {expected.wells})")
    try:
        return place_plate(grid, wells, found.of(PLATE).boxes, picture, expected=expected, seat=seat)
    except Refused as refused:
        return refused


def _agreed(looks: list[Placed | Refused]) -> Placed:
    """The first look that succeeded, if no other look names the wells differently."""
    plates = [look for look in looks if isinstance(look, Placed)]
    if not plates:
        raise next(look for look in looks if isinstance(look, Refused))
    for other in plates[1:]:
        apart = float(np.abs(plates[0].centres_px - other.centres_px).max()) / plates[0].pitch_px
        if apart > AGREEMENT_PITCH:
            raise Refused("uncertain_lattice", f"two looks at the plate differ by {apart:.1f} pitches (expected none)")
    return plates[0]

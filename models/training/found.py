"""Which plates a release finds, and how well: every plate of a picture against where it truly lies.

`python -m models.training.found --release FOLDER [--plates FOLDER] [--renders 160]` prints tables. "wrong",
a plate placed over another one, shifted or turned, is the number that must be nought. Orientation is not the question
here: a plate counts as found whichever of its ends is named A1.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_agent.vision.detector import Model, load_model
from edge_agent.vision.geometry import Placed
from edge_agent.vision.locate import locate_plate
from edge_agent.vision.refusal import Refused
from edge_agent.vision.search import find_plates
from models.training.render import render_deck, render_plate
from models.training.spec import Doubles, Image, PlateSpec, Truth, project
from protocol.plate import PlateFormat, plate_format

RIGHT_PITCHES = 0.3  # the labels themselves are good to 0.15
FORMATS = (96, 384, 48, 24, 12, 6)


@dataclass(frozen=True, slots=True)
class Known:
    """A plate that is in a picture: `to_px` takes (column, row) of its wells to pixels."""

    form: PlateFormat
    to_px: Doubles

    def centres_px(self) -> Doubles:
        """Where the wells are, row by row from A1."""
        rows, columns = np.mgrid[: self.form.rows, : self.form.columns]
        return project(self.to_px, np.column_stack([columns.ravel(), rows.ravel()]))

    def corners_px(self) -> Doubles:
        """Where the four corner wells are."""
        return corners_of(self.centres_px(), self.form)


@dataclass
class Tally:
    """What became of the plates of one set; errors are in pitches, one for every well of a plate found."""

    labelled: int = 0
    found: int = 0
    wrong: int = 0
    read_right: int = 0
    read_wrong: int = 0
    errors: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """The row of the table."""
        counts = {"labelled": self.labelled, "found": self.found, "wrong": self.wrong}
        counts |= {"pictures_read": self.read_right, "pictures_read_wrong": self.read_wrong}
        if not self.errors:
            return dict(counts)
        median, far = np.percentile(self.errors, [50, 95])
        return counts | {"centre_error_median": round(float(median), 3), "centre_error_p95": round(float(far), 3)}


def corners_of(centres: Doubles, form: PlateFormat) -> Doubles:
    """The four corner wells among a plate's wells, row by row."""
    last = form.columns - 1
    return centres[[0, last, form.wells - 1 - last, form.wells - 1]]


def count_in(tally: Tally, model: Model, image: Image, known: list[Known]) -> None:
    """Look for the first known plate's format in a picture, and count what was found against what is there."""
    form = known[0].form
    alike = [plate for plate in known if plate.form is form]
    placed = [one for one in find_plates(image, model, expected=form, seat=None) if isinstance(one, Placed)]
    tally.labelled += len(alike)
    for plate in alike:
        right = next((one for one in placed if _is(one, plate)), None)
        tally.found += right is not None
        if right is not None:
            tally.errors += _errors(right, plate).tolist()
    tally.wrong += sum(_misplaced(one, known) for one in placed)
    try:
        read = locate_plate(image, model, expected=form, seat=None)
    except Refused:
        return
    tally.read_right += any(_is(read, plate) for plate in alike)
    tally.read_wrong += _misplaced(read, known)


def _is(placed: Placed, plate: Known) -> bool:
    apart = _nearest(plate.corners_px(), corners_of(placed.centres_px, placed.form))
    return placed.form is plate.form and float(apart.max()) < RIGHT_PITCHES * placed.pitch_px


def _misplaced(placed: Placed, known: list[Known]) -> bool:
    """Whether a plate was placed on a known one, but not as it lies there; others in view may be unlabelled."""
    middle = placed.centres_px.mean(axis=0)
    for plate in known:
        u, v = project(np.linalg.inv(plate.to_px), middle[None])[0]
        if -1 < u < plate.form.columns and -1 < v < plate.form.rows:
            return not _is(placed, plate)
    return False


def _errors(placed: Placed, plate: Known) -> Doubles:
    return _nearest(plate.centres_px(), placed.centres_px) / placed.pitch_px


def _nearest(points: Doubles, others: Doubles) -> Doubles:
    apart: Doubles = np.hypot(*np.moveaxis(points[:, None] - others[None], 2, 0)).min(axis=1)
    return apart


def count_photographs(model: Model, folder: Path) -> dict[str, dict[str, float]]:
    """Per set of labelled photographs: plates found, wrong, and how far wells lie from the labels."""
    tallies: dict[str, Tally] = {}
    for path, image, known in labelled_photographs(folder):
        count_in(tallies.setdefault(path.parent.name, Tally()), model, image, known)
    return {name: tally.figures() for name, tally in [*tallies.items(), ("all", _sum(list(tallies.values())))]}


def _sum(tallies: list[Tally]) -> Tally:
    together = Tally(errors=[error for tally in tallies for error in tally.errors])
    for name in ("labelled", "found", "wrong", "read_right", "read_wrong"):
        setattr(together, name, sum(getattr(tally, name) for tally in tallies))
    return together


def labelled_photographs(folder: Path) -> Iterator[tuple[Path, Image, list[Known]]]:
    """Every photograph under a folder whose label names plates, with those plates."""
    for path in sorted(folder.glob("*/*.json")):
        label = json.loads(path.read_text())
        picture = next((p for p in map(path.with_suffix, (".jpg", ".png")) if p.exists()), None)
        if isinstance(label.get("plates"), list) and picture is not None:
            yield path, np.asarray(cv2.imread(str(picture)), np.uint8), [_known(plate) for plate in label["plates"]]


def _known(plate: dict[str, Any]) -> Known:
    corners = plate["corners"]
    places = np.array([list(at) for at in (corners.values() if isinstance(corners, dict) else corners)], np.float32)
    right, low = plate["cols"] - 1, plate["rows"] - 1
    indices = np.array([[0, 0], [right, 0], [0, low], [right, low]], np.float32)
    to_px = np.asarray(cv2.getPerspectiveTransform(indices, places), np.float64)
    return Known(plate_format(plate["rows"] * plate["cols"]), to_px)


def count_renders(model: Model, count: int, seed: int) -> dict[str, dict[str, float]]:
    """The same for rendered pictures of every format: turned anyhow, some mirrored, some cut off by the picture."""
    tallies: dict[str, Tally] = {}
    for index in range(count):
        image, known, name = _rendered(seed + index, FORMATS[index % len(FORMATS)])
        count_in(tallies.setdefault(name, Tally()), model, image, known)
    return {name: tally.figures() for name, tally in sorted(tallies.items())}


def _rendered(seed: int, wells: int) -> tuple[Image, list[Known], str]:
    rng = np.random.default_rng([seed, 4])
    wide = int(rng.choice([800, 1280, 1600]))
    spec = PlateSpec(
        difficulty="varied",
        size_px=(wide, round(wide * rng.choice([0.5625, 0.72, 0.75]))),
        plate_format=wells,
        contents="hi" if wells == 96 and rng.random() < 0.5 else "generic",
    )
    how = str(rng.choice(["alone", "deck", "mirrored", "cut off"], p=[0.5, 0.2, 0.15, 0.15]))
    truths: tuple[Truth, ...]
    if how == "deck":
        image, truths = render_deck(seed, replace(spec, size_px=(1600, 1200)))
    else:
        image, one = render_plate(seed, spec)
        truths = (one,)
    to_picture, image = _changed(image, truths[0], how, rng)
    known = [Known(plate_format(truth.plate_format), to_picture @ truth.index_to_px()) for truth in truths]
    return image, known, how if how in {"mirrored", "cut off"} else f"{how} {wells}"


def _changed(image: Image, truth: Truth, how: str, rng: np.random.Generator) -> tuple[Doubles, Image]:
    """The picture as it is, or mirrored, or cut in the middle of the plate's first or last line of wells."""
    to_picture = np.eye(3)
    if how == "mirrored":
        to_picture = np.array([[-1, 0, image.shape[1] - 1], [0, 1, 0], [0, 0, 1.0]])
        image = np.ascontiguousarray(image[:, ::-1])
    if how == "cut off":
        axis, last = int(rng.integers(0, 2)), bool(rng.integers(0, 2))
        places = truth.centres_px[:, axis]
        edge = int(np.clip(places.max() if last else places.min(), 0, image.shape[1 - axis] - 1))
        keep = slice(0, edge + 1) if last else slice(edge, None)
        image = np.ascontiguousarray(image[:, keep] if axis == 0 else image[keep])
        to_picture[axis, 2] = 0 if last else -edge
    return to_picture, image


def table(title: str, rows: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    names = list(Tally(errors=[0.0]).figures())
    head = f"| {title} | {' | '.join(name.replace('_', ' ') for name in names)} |"
    body = [f"| {set_} | {' | '.join(str(row.get(name, '')) for name in names)} |" for set_, row in rows.items()]
    return "\n".join([head, "|---" * (len(names) + 1) + "|", *body, ""])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--release", type=Path, required=True, help="folder of a model release")
    parser.add_argument("--plates", type=Path, help="folder of labelled photographs, with other/ in it")
    parser.add_argument("--renders", type=int, default=0, help="how many rendered pictures")
    parser.add_argument("--seed", type=int, default=7_000_000)
    arguments = parser.parse_args()
    model = load_model(arguments.release)
    if arguments.plates:
        print(table("photographs", count_photographs(model, arguments.plates / "other")))
    if arguments.renders:
        print(table("renders", count_renders(model, arguments.renders, arguments.seed)))


if __name__ == "__main__":
    main()

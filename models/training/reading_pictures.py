"""The pictures of docs/reading.md: renders and what the shipped release makes of them. No photograph is among them.

Each picture is drawn from fixed seeds, read with the device's own code, and kept under 150 kB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from edge_agent.cameras.frame import Frame
from edge_agent.vision import Model, Refused, read_plate
from edge_agent.vision.annotate import COLOURS, annotate
from edge_agent.vision.locate import locate_plate
from edge_agent.vision.tensors import PLATE, WELL, softmax
from models.training.given import rendered
from models.training.render import render_plate
from models.training.spec import CLASSES, Image, PlateSpec
from protocol.assay import Call
from protocol.endpoint import seen_endpoints
from protocol.plate import Seat
from protocol.profiles import profile_named

WIDTH_PX, MOST_BYTES = 920, 150_000
PLATE_SEED, CLASSES_SEED = 54, 6_100_000
ENDPOINTS: Final = (7, 3, 5, 8, 4, 6, 0, 11)
PATCHES_EACH, PATCH_PX, CAPTION_PX = 9, 92, 20
YELLOW, RED, INK = (0, 220, 255), (40, 40, 230), (40, 40, 40)


def pictures(model: Model) -> dict[str, Image]:
    """Every picture by its file's name."""
    image = titration()
    return {
        "reading-found.jpg": found(image, model),
        "reading-called.jpg": called(image, model),
        "reading-classes.jpg": classes(model),
        "reading-refused.jpg": refused(image, model),
    }


def write_pictures(model: Model, folder: Path) -> None:
    """All of them, as JPEG; refused if one would be too large for a page."""
    for name, picture in pictures(model).items():
        encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
        if len(encoded) > MOST_BYTES:
            raise ValueError(f"{name} has {len(encoded)} bytes (expected at most {MOST_BYTES}): draw it smaller")
        (folder / name).write_bytes(encoded)


def titration() -> Image:
    """A plate as a laboratory fills it, on a bench that is not perfect."""
    calls: dict[str, str | None] = {}
    for row, end in zip("ABCDEFGH", ENDPOINTS, strict=True):
        passing = ["button", "partial"][: 12 - end]
        states = ["flowing"] * end + passing + ["diffuse"] * 12
        calls |= {f"{row}{column}": state for column, state in enumerate(states[:12], 1)}
    spec = PlateSpec(calls=calls, difficulty="varied", size_px=(1600, 1150), turn_deg=2.0, fill=0.86)
    return render_plate(PLATE_SEED, spec)[0]


def found(image: Image, model: Model) -> Image:
    """What the detector found, and the wells as the lattice has them."""
    drawn, detections = image.copy(), model.detect(image)
    for kind, colour in ((WELL, YELLOW), (PLATE, RED)):
        for x1, y1, x2, y2 in np.rint(detections.of(kind).boxes).astype(int).tolist():
            cv2.rectangle(drawn, (x1, y1), (x2, y2), colour, 2)
    placed = locate_plate(image, model, expected=profile_named("hi-96").format, seat=Seat.TOP_LEFT)
    for (x, y), name in zip(np.rint(placed.centres_px).astype(int).tolist(), placed.form.names(), strict=True):
        cv2.drawMarker(drawn, (x, y), RED, cv2.MARKER_CROSS, 18, 2)
        if name in {"A1", "A12", "H1", "H12"}:
            cv2.putText(drawn, name, (x - 30, y - 16), cv2.FONT_HERSHEY_SIMPLEX, 1.0, YELLOW, 3, cv2.LINE_AA)
    return _scaled(drawn)


def called(image: Image, model: Model) -> Image:
    """The reading drawn into the picture, as the bench shows it."""
    profile = profile_named("hi-96")
    view = read_plate(_frame(image), profile, model=model, seat=Seat.TOP_LEFT)
    endpoints = seen_endpoints(view.plate, view.wells, profile)
    pitch_px = view.plate.pitch_px
    return _scaled(annotate(view.photograph.image_bgr, view.photograph.scale, view.wells, endpoints, pitch_px))


def classes(model: Model) -> Image:
    """Rendered wells of every class, one to a line; under each what the network says, framed where it is wrong."""
    lines = [_line(call, model) for call in range(len(CLASSES))]
    names = [_label(name, lines[0].shape[0]) for name in CLASSES]
    return np.concatenate([np.concatenate(pair, axis=1) for pair in zip(names, lines, strict=True)])


def _line(call: int, model: Model) -> Image:
    """Wells that most of a panel would call so, one from each plate."""
    cells: list[Image] = []
    seed = CLASSES_SEED
    while len(cells) < PATCHES_EACH:
        plate = rendered(seed, "varied")
        seed += 1
        fitting = np.flatnonzero(plate.counts & (plate.votes[:, call] > 0.8))
        if not len(fitting):
            continue
        index = int(fitting[len(fitting) // 2])
        probabilities = softmax(model.call_logits(plate.patches), model.manifest.networks.calls.temperature)[index]
        cells.append(_cell(plate.patches[index][..., ::-1], probabilities.argmax() == call, _said(probabilities)))
    return np.concatenate(cells, axis=1)


def _said(probabilities: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    return f"{CLASSES[int(probabilities.argmax())]} {probabilities.max():.2f}"


def _cell(patch_bgr: Image, right: bool, caption: str) -> Image:
    cell = np.full((PATCH_PX + CAPTION_PX, PATCH_PX, 3), 255, np.uint8)
    cell[2 : PATCH_PX - 2, 2:-2] = cv2.resize(patch_bgr, (PATCH_PX - 4, PATCH_PX - 4), interpolation=cv2.INTER_CUBIC)
    if not right:
        cv2.rectangle(cell, (1, 1), (PATCH_PX - 2, PATCH_PX - 2), RED, 3)
    cv2.putText(cell, caption, (4, PATCH_PX + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.36, INK, 1, cv2.LINE_AA)
    return cell


def _label(name: str, height: int) -> Image:
    label = np.full((height, 88, 3), 255, np.uint8)
    cv2.putText(label, name, (6, height // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.55, COLOURS[Call(name)], 2, cv2.LINE_AA)
    return label


def refused(image: Image, model: Model) -> Image:
    """The same plate spoilt in six ways, and what the reader says."""
    tiles = [_tile(spoil(image), how, model) for how, spoil in SPOILT.items()]
    lines = [np.concatenate(tiles[i : i + 3], axis=1) for i in range(0, len(tiles), 3)]
    return np.concatenate(lines)


def _tile(image: Image, how: str, model: Model) -> Image:
    try:
        read_plate(_frame(image), profile_named("hi-96"), model=model, seat=Seat.TOP_LEFT)
        said = "read"
    except Refused as reason:
        said = reason.reason
    width, height = WIDTH_PX // 3, 218
    tile = np.full((height + CAPTION_PX + 4, width, 3), 255, np.uint8)
    tile[2 : height - 2, 2:-2] = cv2.resize(image, (width - 4, height - 4), interpolation=cv2.INTER_AREA)
    cv2.putText(tile, f"{how}: {said}", (6, height + 15), cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
    return tile


def _blurred(image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 6), np.uint8)


def _dark(image: Image) -> Image:
    return (image * 0.12).astype(np.uint8)


def _hazy(image: Image) -> Image:
    return (image * 0.14 + 160).astype(np.uint8)


def _card_over_it(image: Image) -> Image:
    covered = image.copy()
    height, width = image.shape[:2]
    corners = np.array([(0.4, 0.36), (0.56, 0.31), (0.6, 0.5), (0.44, 0.55)]) * (width, height)
    cv2.fillPoly(covered, [corners.astype(np.int32)], (205, 212, 216), cv2.LINE_AA)
    return covered


def _half(image: Image) -> Image:
    cut = np.full_like(image, 70)
    cut[:, : image.shape[1] // 2] = image[:, image.shape[1] // 2 :]
    return cut


def _upside_down(image: Image) -> Image:
    return np.ascontiguousarray(image[::-1, ::-1])


SPOILT: Final[Mapping[str, Callable[[Image], Image]]] = {
    "out of focus": _blurred,
    "too little light": _dark,
    "haze": _hazy,
    "a card over it": _card_over_it,
    "half of it": _half,
    "turned by half": _upside_down,
}


def _scaled(image: Image) -> Image:
    height = round(image.shape[0] * WIDTH_PX / image.shape[1])
    return np.asarray(cv2.resize(image, (WIDTH_PX, height), interpolation=cv2.INTER_AREA), np.uint8)


def _frame(image: Image) -> Frame:
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    return Frame(encoded.tobytes(), "render.jpg", datetime(2026, 1, 1, tzinfo=UTC), 0)

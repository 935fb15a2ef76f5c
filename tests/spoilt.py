"""Photographs spoilt on purpose, as lenses, lamps, hands and cables spoil them; and pictures that show no plate."""

from collections.abc import Callable, Iterator

import cv2
import numpy as np

Picture = np.ndarray


def blurred(image: Picture, sigma_px: float) -> Picture:
    """Out of focus."""
    return cv2.GaussianBlur(image, (0, 0), sigma_px) if sigma_px else image


def moved(image: Picture, length_px: float, angle_degrees: float) -> Picture:
    """Moved in a straight line while the shutter was open."""
    side, fine = 2 * int(np.ceil(length_px)) + 1, 8
    kernel = np.zeros((side * fine, side * fine), np.float32)
    middle, angle = side * fine / 2, np.radians(angle_degrees)
    half = np.array([np.cos(angle), np.sin(angle)]) * length_px * fine / 2
    start, end = (tuple(map(int, np.rint(middle + sign * half))) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0, fine)
    kernel = cv2.resize(kernel, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def hazy(image: Picture, share: float, level: int = 200) -> Picture:
    """Seen through a veil."""
    return np.clip(image * (1 - share) + level * share, 0, 255).astype(np.uint8)


def exposed(image: Picture, gain: float, noise: float = 0.0) -> Picture:
    """Brighter or darker, with a sensor's noise."""
    grain = np.random.default_rng(1).normal(0, noise, image.shape) if noise else 0.0
    return np.clip(image * float(gain) + grain, 0, 255).astype(np.uint8)


def scaled(image: Picture, factor: float) -> Picture:
    """From farther away, or from nearer."""
    kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=kind)


def under_a_hand(image: Picture, centre_px: tuple[int, int], size_px: int, colour: tuple[int, int, int]) -> Picture:
    """A hand between camera and plate."""
    out = image.copy()
    cv2.ellipse(out, centre_px, (size_px, round(size_px * 1.2)), 10, 0, 360, colour, -1, cv2.LINE_AA)
    for angle in np.radians((-50, -20, 0, 20, 42)):
        tip = np.array(centre_px) + 2.2 * size_px * np.array([np.sin(angle), -np.cos(angle)])
        cv2.line(out, centre_px, tuple(map(int, tip)), colour, round(size_px * 0.42), cv2.LINE_AA)
    return out


def page_of_text(width: int = 1700, height: int = 1200) -> Picture:
    """A page of print."""
    rng, page = np.random.default_rng(0), np.full((height, width, 3), 245, np.uint8)
    words = ["the", "plate", "was", "read", "twice", "and", "the", "titre", "agreed", "with", "the", "first"]
    for y in range(60, height - 40, 42):
        line = " ".join(rng.choice(words, 14))
        cv2.putText(page, line, (60, y), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (30, 30, 30), 2, cv2.LINE_AA)
    return page


def colour_chart(rows: int, columns: int, *, round_fields: bool, width: int = 1700, height: int = 1200) -> Picture:
    """Fields of chance colours."""
    rng, chart = np.random.default_rng(0), np.full((height, width, 3), 200 if round_fields else 40, np.uint8)
    pitch = min(width / (columns + 1), height / (rows + 1))
    for row, column in np.ndindex(rows, columns):
        colour = tuple(map(int, rng.integers(0, 255, 3)))
        centre = np.array([(column + 1) * pitch, (row + 1) * pitch]).astype(int)
        if round_fields:
            cv2.circle(chart, tuple(map(int, centre)), round(pitch * 0.36), colour, -1, cv2.LINE_AA)
        else:
            low, high = centre - round(0.42 * pitch), centre + round(0.42 * pitch)
            cv2.rectangle(chart, tuple(map(int, low)), tuple(map(int, high)), colour, -1)
    return chart


def without_a_plate() -> Iterator[tuple[str, Picture]]:
    """Pictures that must give no reading."""
    yield "black", np.zeros((1200, 1700, 3), np.uint8)
    yield "white", np.full((1200, 1700, 3), 255, np.uint8)
    yield "page of text", page_of_text()
    yield "colour chart of 24", colour_chart(4, 6, round_fields=False)
    yield "colour chart of 96 squares", colour_chart(8, 12, round_fields=False)
    yield "colour chart of 96 discs", colour_chart(8, 12, round_fields=True)


def half_a_plate(image: Picture) -> Iterator[tuple[str, Picture]]:
    """The four halves of a photograph that a plate fills."""
    height, width = image.shape[:2]
    yield "left half", image[:, : width // 2]
    yield "right half", image[:, width // 2 :]
    yield "upper half", image[: height // 2]
    yield "lower half", image[height // 2 :]


# What a photograph must survive with the same titres, or be refused for: a name and the change.
BEARABLE: tuple[tuple[str, Callable[[Picture], Picture]], ...] = (
    *((f"scaled by {factor:g}", lambda image, f=factor: scaled(image, f)) for factor in (0.6, 0.8, 1.2, 1.4)),
    *((f"brightness × {gain:g}", lambda image, g=gain: exposed(image, g)) for gain in (0.6, 0.8, 1.2, 1.4)),
    *((f"blurred by {sigma:g} px", lambda image, s=sigma: blurred(image, s)) for sigma in (0.5, 1.0, 1.5)),
    *((f"noise of {noise:g} levels", lambda image, n=noise: exposed(image, 1.0, n)) for noise in (5, 10, 15)),
)
# Each of these is several of those at once.
TOGETHER: tuple[tuple[str, Callable[[Picture], Picture]], ...] = (
    ("0.6, blurred, dark, noisy", lambda image: exposed(blurred(scaled(image, 0.6), 1.0), 0.6, 8)),
    ("1.4, blurred, bright, noisy", lambda image: exposed(blurred(scaled(image, 1.4), 1.5), 1.4, 8)),
)

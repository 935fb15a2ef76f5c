"""Which plate it is: the code in the picture or one that is given. `a,b,c` or `a|b|c`: submission, test, plate number.

A reading on the wrong plate is worse than one on no plate. So the whole picture is searched even after a code was
found, and two different plate codes in one picture are a question for a person, never a choice made here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from protocol.messages import LabId, PlateCode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Codes stand on the plate's skirt or beside it, so strips of this share of the picture are read at full resolution…
_STRIP: Final = 0.22
# …and the rest in a smaller copy: a 12-megapixel frame takes most of a second at full size, this a tenth of it.
_WHOLE_PX: Final = 1600


@dataclass(frozen=True)
class FoundCode:
    """The plate code of a picture, or None and a note that says why there is none."""

    code: PlateCode | None
    note: str = ""
    several: bool = False


def parse_code(text: str, source: Literal["picture", "given"]) -> PlateCode:
    """The plate that a code's text names; ValueError with the value and the expectation."""
    text = text.strip()
    separator = "|" if "|" in text else ","
    parts = [part.strip() for part in text.split(separator)]
    if len(parts) != 3:
        raise ValueError(f"not a plate code: {text!r} (expected submission,test,plate number or with | between)")
    for part in parts:
        try:
            msgspec.convert(part, LabId)
        except msgspec.ValidationError:
            raise ValueError(
                f"not a plate code: {text!r}: {part!r} (expected 1 to 64 of A-Z a-z 0-9 . _ : / -, "
                "the first a letter or digit)"
            ) from None
    return PlateCode(text, source, *parts)


def find_code(image_bgr: "NDArray[np.uint8]") -> FoundCode:
    """The one plate code in a picture, whichever way up it is."""
    found: dict[tuple[str, str, str], PlateCode] = {}
    others: list[str] = []
    for text in _texts(image_bgr):
        try:
            code = parse_code(text, "picture")
        except ValueError as error:
            others.append(str(error))
        else:
            found.setdefault(_identity(code), code)
    if len(found) > 1:
        texts = ", ".join(sorted(repr(code.text) for code in found.values()))
        return FoundCode(None, f"{len(found)} plate codes in one picture: {texts} (expected one)", several=True)
    if found:
        return FoundCode(next(iter(found.values())))
    return FoundCode(None, others[0] if others else "no code in the picture")


def agreed(found: FoundCode, given: PlateCode | None) -> FoundCode:
    """The picture's code and the one that a person gave, which must not contradict each other."""
    if given is None:
        return found
    if found.code is None:
        return FoundCode(given) if not found.several else found
    if _identity(found.code) == _identity(given):
        return found
    return FoundCode(None, f"the picture says {found.code.text!r} (expected {given.text!r}, as given)")


def _identity(code: PlateCode) -> tuple[str, str, str]:
    return code.submission, code.test, code.plate_number


def _texts(image: "NDArray[np.uint8]") -> Iterator[str]:
    import zxingcpp

    formats = [zxingcpp.BarcodeFormat.QRCode, zxingcpp.BarcodeFormat.Code128, zxingcpp.BarcodeFormat.DataMatrix]
    for part in _parts(image):
        for barcode in zxingcpp.read_barcodes(part, formats=zxingcpp.BarcodeFormats(formats)):
            yield barcode.text


def _parts(image: "NDArray[np.uint8]") -> Iterator["NDArray[np.uint8]"]:
    import cv2
    import numpy as np

    grey = image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    height, width = grey.shape
    scale = _WHOLE_PX / max(height, width)
    if scale < 1:
        down, across = round(height * _STRIP), round(width * _STRIP)
        yield grey[-down:]
        yield grey[:down]
        yield np.ascontiguousarray(grey[:, :across])
        yield np.ascontiguousarray(grey[:, -across:])
        grey = np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    yield grey

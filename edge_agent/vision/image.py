"""Bytes → a checked picture. Nothing is decoded before its header says that it may be.

The header alone decides about kind and size, so a small file that unpacks to a huge picture costs nothing; the end of
the file is looked for, because a decoder fills what a cut-off photograph lacks with grey and says nothing.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np

from edge_agent.cameras.frame import MAX_PHOTO_BYTES
from edge_agent.vision.patches import Image
from edge_agent.vision.refusal import Refused

MAX_MEGAPIXELS: Final = 60
# Above this a photograph is shrunk while it is decoded: 12 megapixels show a well in more pixels than a patch has.
WORKING_MEGAPIXELS: Final = 12
MIN_SIDE_PX: Final = 64
# A JPEG in several scans is held whole while it is decoded, two bytes for every number in it, however small it is
# wanted; and each scan goes over all of it once more. Cameras write one scan, "progressive" files about ten.
MAX_HELD_MB, MAX_SCANS = 150, 32

MediaType = Literal["image/jpeg", "image/png"]

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_OTHERS: Final = (
    (0, b"GIF8", "a GIF picture"),
    (0, b"BM", "a BMP picture"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (8, b"WEBP", "a WebP picture"),
    (4, b"ftypheic", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIC picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"PK\3\4", "a ZIP archive"),
)
# What makes a marker of 0xFF in entropy-coded data: neither a stuffed zero, nor a restart, nor a fill byte.
_ENDS_SCAN: Final = np.isin(np.arange(256), [0x00, *range(0xD0, 0xD8), 0xFF], invert=True)
_LOOKED_AT_ONCE: Final = 1 << 18
_START_OF_FRAME: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself before it is decoded; the size is as stored, before any turn by EXIF.

    `channels` counts a colour that is stored at a quarter of the size as a quarter.
    """

    media_type: MediaType
    width_px: int
    height_px: int
    channels: float


@dataclass(frozen=True, slots=True)
class Photograph:
    """A decoded picture, upright. `image_bgr` may have fewer pixels than the photograph: `width_px` × `height_px`."""

    image_bgr: Image
    width_px: int
    height_px: int
    media_type: MediaType

    @property
    def scale(self) -> float:
        """Pixels of the photograph per pixel of `image_bgr`."""
        return self.width_px / self.image_bgr.shape[1]


def open_photograph(content: bytes) -> Photograph:
    """The picture in a file's bytes, upright by its EXIF orientation; refused unless it can be read safely."""
    header = read_header(content)
    factor = _reduction(header)
    flags = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}[factor]
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise Refused("truncated", f"the picture cannot be decoded: {error.err} (expected no damage)") from error
    if image is None:
        raise Refused("truncated", "the picture cannot be decoded (expected an undamaged JPEG or PNG file)")
    width, height = header.width_px, header.height_px
    if (image.shape[1] < image.shape[0]) != (width < height) and width != height:
        width, height = height, width
    return Photograph(image.astype(np.uint8, copy=False), width, height, header.media_type)


def read_header(content: bytes) -> Header:
    """Kind and size of a complete JPEG or PNG file; refused where the file is something else, cut off or too large."""
    if not content:
        raise Refused("not_an_image", "the file is empty (expected a JPEG or PNG photograph)")
    if len(content) > MAX_PHOTO_BYTES:
        found, limit = len(content) / 2**20, MAX_PHOTO_BYTES // 2**20
        raise Refused("too_large", f"the file has {found:.1f} MB (expected at most {limit} MB)")
    if content.startswith(_PNG):
        header = _png_header(content)
        _check_size(header)
        _check_png(content)
    elif content.startswith(_JPEG):
        header = _jpeg_header(content)
        _check_size(header)
        _check_scans(header, *_scans(content))
    else:
        raise Refused("not_an_image", f"the file is {_kind(content)} (expected a JPEG or PNG photograph)")
    return header


def _kind(content: bytes) -> str:
    for offset, signature, name in _OTHERS:
        if content[offset : offset + len(signature)] == signature:
            return name
    return f"of no known kind, it begins with {content[:8]!r}"


def _reduction(header: Header) -> int:
    """1, 2 or 4: how many times smaller each side is decoded."""
    pixels = header.width_px * header.height_px
    return next(factor for factor in (1, 2, 4) if pixels <= WORKING_MEGAPIXELS * 1_000_000 * factor**2)


def _check_size(header: Header) -> None:
    width, height = header.width_px, header.height_px
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        found = f"{width} × {height} px, {width * height / 1e6:.0f} megapixels"
        raise Refused("too_large", f"the picture has {found} (expected at most {MAX_MEGAPIXELS} megapixels)")
    if min(width, height) < MIN_SIDE_PX:
        raise Refused("too_small", f"the picture has {width} × {height} px (expected at least {MIN_SIDE_PX} px a side)")


def _png_header(content: bytes) -> Header:
    if len(content) < 33:
        raise Refused("truncated", f"the PNG file ends after {len(content)} bytes (expected its header)")
    if content[8:16] != b"\0\0\0\rIHDR":
        raise Refused("not_an_image", f"the PNG file begins with {content[8:16]!r} (expected its header, IHDR)")
    width, height = struct.unpack(">II", content[16:24])
    return Header("image/png", width, height, 3)


def _check_png(content: bytes) -> None:
    """Walk the chunks to the last one; each must carry its own checksum."""
    position = 8
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        end = position + 12 + length
        if end > len(content):
            break
        kind = content[position + 4 : position + 8]
        if zlib.crc32(content[position + 4 : end - 4]) != struct.unpack_from(">I", content, end - 4)[0]:
            raise Refused("truncated", f"the PNG file is damaged in its {kind!r} chunk (expected its checksum)")
        if kind == b"IEND":
            return
        position = end
    raise Refused("truncated", f"the PNG file ends after {len(content)} bytes (expected its end, IEND)")


def _jpeg_header(content: bytes) -> Header:
    position = 2
    while position + 9 <= len(content):
        if content[position] != 0xFF:
            raise Refused("truncated", f"the JPEG file is damaged at byte {position} (expected a marker)")
        marker = content[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", content, position + 5)
            return Header("image/jpeg", width, height, _channels(content[position + 9 : position + 22]))
        else:
            position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    raise Refused("truncated", f"the JPEG file ends after {len(content)} bytes (expected its header)")


def _channels(frame: bytes) -> float:
    """From a frame's components: how many, then for each its name, its samples across and down, its table."""
    samples = [(sampling >> 4) * (sampling & 15) for sampling in frame[2 : 1 + 3 * int.from_bytes(frame[:1]) : 3]]
    most = max(samples, default=0)
    return sum(samples) / most if most else 4


def _scans(content: bytes) -> tuple[int, bool]:
    """How many scans a JPEG has, and whether it is progressive; refused where it does not end.

    Segments are followed to the end marker: one inside an embedded thumbnail does not count. More scans than may be are
    not counted to the end, which takes seconds in a file of nothing else.
    """
    position, scans, progressive = 2, 0, False
    while position + 4 <= len(content):
        marker = content[position + 1]
        if marker == _END_OF_IMAGE:
            return scans, progressive
        if marker == 0xFF:
            position += 1
            continue
        progressive |= marker in _PROGRESSIVE
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        if marker == _START_OF_SCAN:
            scans += 1
            if scans > MAX_SCANS:
                return scans, progressive
            found = _next_marker(content, position)
            if found is None:
                break
            position = found
            if content[position + 1] == _END_OF_IMAGE:
                return scans, progressive
    raise Refused("truncated", f"the JPEG file ends after {len(content)} bytes (expected its end marker)")


def _next_marker(content: bytes, position: int) -> int | None:
    """Where the first marker from a position in a scan on stands; a piece at a time, however large the file."""
    for start in range(position, len(content) - 1, _LOOKED_AT_ONCE):
        count = min(_LOOKED_AT_ONCE + 1, len(content) - start)
        piece = np.frombuffer(content, np.uint8, count, start)
        prefixes = np.flatnonzero(piece[:-1] == 0xFF)
        markers = prefixes[_ENDS_SCAN[piece[prefixes + 1]]]
        if len(markers):
            return start + int(markers[0])
    return None


def _check_scans(header: Header, scans: int, progressive: bool) -> None:
    if scans > MAX_SCANS:
        raise Refused("too_large", f"the JPEG file has more than {MAX_SCANS} scans (expected one, at most {MAX_SCANS})")
    held_mb = 2 * header.channels * header.width_px * header.height_px / 2**20
    if (progressive or scans > 1) and held_mb > MAX_HELD_MB:
        raise Refused(
            "too_large",
            f"the JPEG file needs {held_mb:.0f} MB to be decoded, because it is progressive or in several scans "
            f"(expected at most {MAX_HELD_MB} MB): let the camera save it as a baseline JPEG",
        )

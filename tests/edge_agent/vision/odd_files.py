"""Picture files that no camera writes: huge from few bytes, in many scans, of four colours, of sixteen bits."""

import struct
import zlib

import cv2
import numpy as np

PROGRESSIVE, BASELINE = 0xC2, 0xC0
FORTY_MEGAPIXELS = (7530, 5312)


def blank_jpeg(width: int, height: int, *, colours: int = 3, frame: int = BASELINE, scans: int = 1) -> bytes:
    """A JPEG of one grey: every coefficient is nought, so a block is two bits. Further scans go over the first colour.

    Four colours are CMYK, as Adobe marks it.
    """
    blocks = -(-width // 8) * -(-height // 8)
    names = [bytes([number + 1]) for number in range(colours)]
    parts = [
        b"\xff\xd8",
        _segment(0xEE, b"Adobe\0\x64" + b"\0" * 5) if colours == 4 else b"",
        _segment(0xDB, b"\0" + b"\1" * 64),
        _segment(frame, struct.pack(">BHHB", 8, height, width, colours) + b"".join(name + b"\x11\0" for name in names)),
        *(_segment(0xC4, bytes([table, 1]) + b"\0" * 16) for table in (0x00, 0x10)),
    ]
    first_only_dc = frame == PROGRESSIVE
    parts.append(_scan(names, 0 if first_only_dc else 63, 0, blocks * colours * (1 if first_only_dc else 2)))
    parts += [_scan(names[:1], 63, 1 if first_only_dc else 0, blocks * (1 if first_only_dc else 2))] * (scans - 1)
    return b"".join(parts) + b"\xff\xd9"


def _scan(names: list[bytes], last: int, first: int, bits: int) -> bytes:
    header = bytes([len(names)]) + b"".join(name + b"\0" for name in names) + bytes([first, last, 0])
    return _segment(0xDA, header) + b"\0" * -(-bits // 8)


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def blank_png(width: int, height: int, *, bits: int = 8) -> bytes:
    """A black PNG, whole and undamaged, of a few bytes per line."""
    packer = zlib.compressobj()
    line = b"\0" * (1 + width * 3 * bits // 8)
    pixels = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    return png(width, height, pixels, bits=bits)


def png(width: int, height: int, pixels: bytes, *, bits: int = 8) -> bytes:
    """A PNG that claims a size and carries these packed pixels, whatever they are."""
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    packed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def large_files(photograph: np.ndarray) -> dict[str, bytes]:
    """A photograph enlarged to 40 megapixels, and files that unpack to as much or more."""
    large = cv2.resize(photograph, FORTY_MEGAPIXELS, interpolation=cv2.INTER_LINEAR)
    return {
        "photograph.jpg": cv2.imencode(".jpg", large)[1].tobytes(),
        "progressive.jpg": cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
        "black.png": blank_png(*FORTY_MEGAPIXELS),
        "black-16-bit.png": blank_png(*FORTY_MEGAPIXELS, bits=16),
        "cmyk.jpg": blank_jpeg(*FORTY_MEGAPIXELS, colours=4),
        "three-scans.jpg": blank_jpeg(*FORTY_MEGAPIXELS, scans=3),
        "progressive-full-colour.jpg": blank_jpeg(*FORTY_MEGAPIXELS, frame=PROGRESSIVE),
        "many-scans.jpg": blank_jpeg(3000, 2000, frame=PROGRESSIVE, scans=500),
        "bomb.png": blank_png(30_000, 3_000),
        "claims-to-be-a-bomb.png": png(30_000, 30_000, b""),
    }

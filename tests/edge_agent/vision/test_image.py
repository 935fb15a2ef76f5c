"""What is not a safe, whole photograph is refused before it is decoded, with the value and the expectation."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from edge_agent.cameras.frame import MAX_PHOTO_BYTES
from edge_agent.vision.image import open_photograph, read_header
from edge_agent.vision.refusal import Refused
from tests.edge_agent.vision.odd_files import BASELINE, PROGRESSIVE, blank_jpeg, png


def picture(width: int = 320, height: int = 240) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)


def encoded(suffix: str, image: np.ndarray | None = None) -> bytes:
    return cv2.imencode(suffix, picture() if image is None else image)[1].tobytes()


def png_claiming(width: int, height: int) -> bytes:
    return png(width, height, zlib.compress(b"\0" * 1000))


def with_exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0112, 3, 1, orientation) + b"\0\0\0\0"
    segment = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


@pytest.mark.parametrize(
    ("content", "reason", "says"),
    [
        (b"", "not_an_image", "empty"),
        (b"Dear laboratory, the plate is attached.", "not_an_image", "no known kind"),
        (b"GIF89a" + b"\0" * 100, "not_an_image", "a GIF picture"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 100, "not_an_image", "a HEIC picture"),
        (b"\x89PNG\r\n\x1a\n", "truncated", "8 bytes"),
        (b"\xff\xd8\xff\xe0", "truncated", "4 bytes"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50, "truncated", "expected a marker"),
        (png_claiming(30_000, 30_000), "too_large", "30000 × 30000"),
        (png_claiming(20, 20), "too_small", "20 × 20"),
        (b"\xff\xd8\xff" + b"\0" * MAX_PHOTO_BYTES, "too_large", "MB"),
        (encoded(".jpg")[:-2000], "truncated", "end marker"),
        (encoded(".png")[:-2000], "truncated", "IEND"),
        (png_claiming(100, 100), "truncated", "cannot be decoded"),
    ],
)
def test_what_is_no_photograph_is_refused(content: bytes, reason: str, says: str) -> None:
    with pytest.raises(Refused) as caught:
        open_photograph(content)
    assert caught.value.reason == reason
    assert says in caught.value.detail


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("eighths", range(1, 8))
def test_a_file_cut_off_anywhere_is_refused(suffix: str, eighths: int) -> None:
    content = encoded(suffix)
    with pytest.raises(Refused, match="truncated"):
        open_photograph(content[: len(content) * eighths // 8])


@pytest.mark.parametrize(("suffix", "name"), [(".webp", "WebP"), (".tiff", "TIFF"), (".bmp", "BMP")])
def test_another_kind_of_picture_is_refused_by_its_name(suffix: str, name: str) -> None:
    with pytest.raises(Refused, match=f"a {name} picture"):
        open_photograph(encoded(suffix))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_single_pixel_is_refused(suffix: str) -> None:
    with pytest.raises(Refused, match="1 × 1 px"):
        open_photograph(encoded(suffix, picture(1, 1)))


def test_sixteen_bits_are_read_as_eight() -> None:
    deep = encoded(".png", picture().astype(np.uint16) * 257)
    assert (open_photograph(deep).image_bgr == picture()).all()


def test_cmyk_is_read_as_a_colour_picture() -> None:
    assert open_photograph(blank_jpeg(320, 240, colours=4)).image_bgr.shape == (240, 320, 3)


@pytest.mark.parametrize(("frame", "scans"), [(PROGRESSIVE, 1), (BASELINE, 2)])
def test_a_jpeg_that_is_held_whole_to_be_decoded_has_a_limit(frame: int, scans: int) -> None:
    with pytest.raises(Refused, match=r"needs 229 MB to be decoded.*baseline"):
        open_photograph(blank_jpeg(7530, 5312, frame=frame, scans=scans))


def test_a_jpeg_of_too_many_scans_is_refused() -> None:
    assert open_photograph(blank_jpeg(320, 240, frame=PROGRESSIVE, scans=32)).width_px == 320
    with pytest.raises(Refused, match="more than 32 scans"):
        open_photograph(blank_jpeg(320, 240, frame=PROGRESSIVE, scans=33))


def test_a_file_of_nothing_but_scans_is_not_counted_to_its_end() -> None:
    blank = blank_jpeg(320, 240)
    header = blank[: blank.index(b"\xff\xda")]
    # Without an end: whoever goes on counting finds that first.
    with pytest.raises(Refused, match="more than 32 scans"):
        read_header(header + b"\xff\xda\x00\x02" * 50_000)


@pytest.mark.parametrize("beyond", [-2, -1, 0, 1])
def test_the_end_of_a_long_scan_is_found_wherever_it_lies(beyond: int) -> None:
    whole = blank_jpeg(320, 240)
    start, length = whole.index(b"\xff\xda") + 2, int.from_bytes(whole[whole.index(b"\xff\xda") + 2 :][:2], "big")
    scan = whole[: start + length] + b"\xff\x00\xff\xd3\xff\xff\x00" * 1000 + b"\x55" * ((1 << 18) - 7000 + beyond)
    assert read_header(scan + b"\xff\xd9").width_px == 320
    with pytest.raises(Refused, match="truncated"):
        read_header(scan + b"\xff\x00")


@pytest.mark.parametrize("cut", range(3, 110, 7))
def test_a_jpeg_that_ends_in_its_header_is_refused(cut: int) -> None:
    with pytest.raises(Refused, match="truncated"):
        read_header(blank_jpeg(320, 240)[:cut])


def test_a_flipped_bit_in_a_png_is_refused() -> None:
    content = bytearray(encoded(".png"))
    content[5000] ^= 1
    with pytest.raises(Refused, match="damaged"):
        open_photograph(bytes(content))


@pytest.mark.parametrize(("suffix", "media_type"), [(".jpg", "image/jpeg"), (".png", "image/png")])
def test_a_whole_photograph_opens_at_full_size(suffix: str, media_type: str) -> None:
    photograph = open_photograph(encoded(suffix))
    assert photograph.image_bgr.shape == (240, 320, 3)
    assert (photograph.width_px, photograph.height_px, photograph.scale) == (320, 240, 1)
    assert photograph.media_type == media_type


def test_bytes_after_the_end_of_a_jpeg_do_not_matter() -> None:
    assert read_header(encoded(".jpg") + b"maker's notes").width_px == 320


def test_the_end_of_an_embedded_thumbnail_is_not_the_end() -> None:
    jpeg, thumbnail = encoded(".jpg"), encoded(".jpg", picture(64, 64))
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    with pytest.raises(Refused, match="truncated"):
        open_photograph(jpeg[:2] + segment + jpeg[2:-2000])


def test_progressive_jpeg_is_read() -> None:
    content = cv2.imencode(".jpg", picture(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert open_photograph(content).width_px == 320


@pytest.mark.parametrize(("orientation", "size"), [(1, (320, 240)), (3, (320, 240)), (6, (240, 320)), (8, (240, 320))])
def test_exif_orientation_turns_the_photograph(orientation: int, size: tuple[int, int]) -> None:
    photograph = open_photograph(with_exif_orientation(encoded(".jpg"), orientation))
    assert (photograph.width_px, photograph.height_px) == size
    assert photograph.image_bgr.shape[1::-1] == size


@pytest.mark.parametrize(("megapixels", "factor"), [(11, 1), (40, 2), (55, 4)])
def test_large_photographs_are_shrunk_while_decoding(megapixels: int, factor: int) -> None:
    width, height = 8000, megapixels * 125
    content = with_exif_orientation(encoded(".jpg", np.full((height, width, 3), 128, np.uint8)), 6)
    photograph = open_photograph(content)
    assert (photograph.width_px, photograph.height_px) == (height, width)
    assert photograph.scale == pytest.approx(factor, rel=0.01)


def test_more_than_sixty_megapixels_are_refused() -> None:
    with pytest.raises(Refused, match="72 megapixels"):
        read_header(png_claiming(9000, 8000))

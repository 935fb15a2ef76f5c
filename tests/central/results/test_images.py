"""Pictures on disk: resumed at the right byte, verified whole, never written outside their folder."""

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading, transaction
from central.results import images
from central.results.images import (
    MAX_IMAGE_BYTES,
    ImageError,
    NotAnImageError,
    StoredImage,
    TooLargeError,
    WrongDigestError,
    WrongOffsetError,
)
from central.results.queries import get_image
from tests.make import NOON

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40
PNG = b"\x89PNG\r\n\x1a\n" + bytes(500)
JPEG_ID = hashlib.sha256(JPEG).hexdigest()


def upload(folder: Path, picture: bytes, piece: int = 4096) -> StoredImage:
    """A whole upload in pieces."""
    sha256 = hashlib.sha256(picture).hexdigest()
    for start in range(0, len(picture), piece):
        images.append(folder, sha256, start, len(picture), picture[start : start + piece])
    return images.finish(folder, sha256)


@pytest.mark.parametrize(("picture", "media_type"), [(JPEG, "image/jpeg"), (PNG, "image/png")])
def test_pieces_become_the_picture(tmp_path: Path, picture: bytes, media_type: str) -> None:
    stored = upload(tmp_path, picture)
    assert (stored.bytes, stored.media_type) == (len(picture), media_type)
    whole = images.path(tmp_path, stored.sha256)
    assert whole == tmp_path / stored.sha256[:2] / stored.sha256[2:4] / stored.sha256
    assert whole.read_bytes() == picture


def test_an_upload_goes_on_where_it_stopped(tmp_path: Path) -> None:
    assert images.offset(tmp_path, JPEG_ID) == 0
    assert images.append(tmp_path, JPEG_ID, 0, len(JPEG), JPEG[:1000]) == 1000
    assert images.offset(tmp_path, JPEG_ID) == 1000
    images.append(tmp_path, JPEG_ID, 1000, len(JPEG), JPEG[1000:])
    assert images.finish(tmp_path, JPEG_ID).bytes == len(JPEG)


@pytest.mark.parametrize("start", [0, 999, 1001])
def test_a_piece_at_another_offset_is_refused_with_the_right_one(tmp_path: Path, start: int) -> None:
    images.append(tmp_path, JPEG_ID, 0, len(JPEG), JPEG[:1000])
    with pytest.raises(WrongOffsetError, match=f"offset {start} .expected 1000.") as refused:
        images.append(tmp_path, JPEG_ID, start, len(JPEG), b"x")
    assert refused.value.offset == 1000


def test_an_unfinished_picture_is_not_there(tmp_path: Path) -> None:
    images.append(tmp_path, JPEG_ID, 0, len(JPEG), JPEG[:1000])
    assert images.path(tmp_path, JPEG_ID) is None


def test_other_bytes_than_promised_are_removed(tmp_path: Path) -> None:
    images.append(tmp_path, JPEG_ID, 0, len(PNG), PNG)
    with pytest.raises(WrongDigestError, match=JPEG_ID):
        images.finish(tmp_path, JPEG_ID)
    assert images.offset(tmp_path, JPEG_ID) == 0


def test_what_is_no_picture_is_removed(tmp_path: Path) -> None:
    with pytest.raises(NotAnImageError, match="neither JPEG nor PNG"):
        upload(tmp_path, b"<svg onload=alert(1)>")
    assert images.offset(tmp_path, hashlib.sha256(b"<svg onload=alert(1)>").hexdigest()) == 0


@pytest.mark.parametrize("total", [0, -1, MAX_IMAGE_BYTES + 1])
def test_a_picture_of_a_size_that_cannot_be_is_refused(tmp_path: Path, total: int) -> None:
    with pytest.raises(TooLargeError, match=str(MAX_IMAGE_BYTES)):
        images.append(tmp_path, JPEG_ID, 0, total, b"")


def test_a_piece_beyond_the_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="ends at 11"):
        images.append(tmp_path, JPEG_ID, 0, 10, bytes(11))
    assert images.offset(tmp_path, JPEG_ID) == 0


def test_a_whole_picture_is_never_written_to_again(tmp_path: Path) -> None:
    stored = upload(tmp_path, JPEG)
    assert images.append(tmp_path, JPEG_ID, 0, len(JPEG) + 4, b"evil") == len(JPEG)
    assert images.finish(tmp_path, JPEG_ID) == stored
    whole = images.path(tmp_path, JPEG_ID)
    assert whole is not None
    assert whole.read_bytes() == JPEG


def test_eight_uploads_of_one_picture_at_once_make_one(tmp_path: Path) -> None:
    def keep_trying() -> None:
        while (held := images.offset(tmp_path, JPEG_ID)) < len(JPEG):
            try:
                images.append(tmp_path, JPEG_ID, held, len(JPEG), JPEG[held : held + 500])
            except WrongOffsetError:
                continue
        images.finish(tmp_path, JPEG_ID)

    threads = [threading.Thread(target=keep_trying) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = images.path(tmp_path, JPEG_ID)
    assert whole is not None
    assert whole.read_bytes() == JPEG


def test_a_picture_that_becomes_whole_while_it_is_asked_for_is_held_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.append(tmp_path, JPEG_ID, 0, len(JPEG), JPEG)
    look = Path.stat

    def finish_first(file: Path, **options: Any) -> os.stat_result:
        if file.name.endswith(".part"):
            monkeypatch.undo()
            images.finish(tmp_path, JPEG_ID)
        return look(file, **options)

    monkeypatch.setattr(Path, "stat", finish_first)
    assert images.offset(tmp_path, JPEG_ID) == len(JPEG)


def test_nothing_held_cannot_be_finished(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="nothing held"):
        images.finish(tmp_path, JPEG_ID)


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", "a" * 64 + "/"])
def test_only_a_digest_names_a_file(tmp_path: Path, name: str) -> None:
    for call in (images.path, images.offset, images.finish):
        with pytest.raises(ImageError, match="not a SHA-256"):
            call(tmp_path, name)
    with pytest.raises(ImageError, match="not a SHA-256"):
        images.append(tmp_path, name, 0, 4, b"evil")
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_an_upload_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    link = tmp_path / "parts" / f"{JPEG_ID}.part"
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        images.append(tmp_path, JPEG_ID, 0, len(JPEG), JPEG)
    assert victim.read_bytes() == b""


@pytest.mark.anyio
async def test_the_row_of_a_picture_is_written_once(engine: AsyncEngine) -> None:
    stored = StoredImage(JPEG_ID, len(JPEG), "image/jpeg")
    async with transaction(engine) as connection:
        await images.record(connection, stored, device_id="bench-1", now=NOON)
        await images.record(connection, stored, device_id="bench-2", now=NOON)
    async with reading(engine) as connection:
        row = await get_image(connection, JPEG_ID)
    assert row is not None
    assert (row.bytes, row.media_type, row.stored_at, row.device_id) == (len(JPEG), "image/jpeg", NOON, "bench-1")


def test_uploads_that_nobody_goes_on_with_are_swept_and_the_oldest_beyond_the_bound(tmp_path: Path) -> None:
    now_s = 1_000_000.0
    for number, age_s in enumerate((10, 20, 30, 9000)):
        name = f"{number:064x}"
        images.append(tmp_path, name, 0, 1000, bytes(400))
        os.utime(tmp_path / "parts" / f"{name}.part", (now_s - age_s, now_s - age_s))
    assert images.sweep(tmp_path, now_s, longest_s=3600, most_bytes=800) == 2
    assert sorted(part.name[:64] for part in (tmp_path / "parts").iterdir()) == [f"{n:064x}" for n in (0, 1)]

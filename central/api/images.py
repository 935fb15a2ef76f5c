"""`/api/v1/images`: pictures by their SHA-256. People look at them; devices upload them, in pieces if they must.

A device asks with HEAD where it stands, and sends what is missing with `Content-Range`. Only a picture that an accepted
reading of this very device names is taken.
"""

import re
from pathlib import Path
from typing import Final

import anyio.to_thread
from litestar import Response, get, head, put
from litestar.response import File

from central.api.paths import Sha256Path, missing
from central.db import reading, transaction
from central.parts import CentralRequest, Parts, Wired, caller_sites, device_of
from central.people.permissions import DEVICES, VIEWERS
from central.results import images
from central.results.queries import ImageRow, get_image, picture_of_device, picture_of_sites
from central.web.problems import ProblemError

# Bytes of a request that are held before they go to disk.
CHUNK_BYTES: Final = 256 * 1024

_RANGE: Final = re.compile(r"bytes (\d{1,12})-(\d{1,12})/(\d{1,12})")


@get(
    "/images/{sha256:str}",
    access=VIEWERS.with_key("results:read"),
    summary="A picture",
    description="JPEG or PNG, exactly as the device took it.",
)
async def get_picture(request: CentralRequest, parts: Wired, sha256: Sha256Path) -> File | Response[None]:
    """The picture's bytes; they never change, so a browser may keep them."""
    async with reading(parts.engine) as connection:
        row = await picture_of_sites(connection, sha256, sites=caller_sites(request))
    if row is not None and row.removed_at is not None:
        day = row.removed_at.date().isoformat()
        raise ProblemError(410, f"picture {sha256} was removed on {day}, as its laboratory keeps pictures no longer")
    path = None if row is None else images.path(parts.settings.images_dir, sha256)
    if row is None or path is None:
        raise missing("picture", sha256)
    headers = {"cache-control": "private, max-age=31536000, immutable"}
    return File(path, media_type=row.media_type, filename=sha256, content_disposition_type="inline", headers=headers)


@head(
    "/images/{sha256:str}",
    access=DEVICES,
    media_type="text/plain",
    summary="Where an upload stands",
    description="200: the picture is here. 404 with `Upload-Offset`: so many bytes of it are.",
)
async def head_picture(request: CentralRequest, parts: Wired, sha256: Sha256Path) -> Response[None]:
    """How much of a picture is here."""
    row, wanted = await _held_and_wanted(parts, sha256, device_of(request).id)
    if wanted is None:  # another device's picture: not this one's to know
        return Response(None, status_code=404, headers={"upload-offset": "0"})
    folder = parts.settings.images_dir
    if row is not None and _settled(row, folder):
        return Response(None, headers={"upload-offset": str(row.bytes)})
    # A whole file without its row waits for the row: its last piece is sent again, and changes nothing but that.
    offset = min(images.offset(folder, sha256), wanted - 1)
    return Response(None, status_code=404, headers={"upload-offset": str(offset)})


@put(
    "/images/{sha256:str}",
    access=DEVICES,
    status_code=201,
    request_max_body_size=images.MAX_IMAGE_BYTES,
    summary="Upload a picture",
    description=(
        "Whole, or a piece with `Content-Range: bytes a-b/total`. 202 with `Upload-Offset` while it is incomplete, "
        "201 once it is whole and verified, 200 if it was here already, 409 with the right `Upload-Offset` where the "
        "piece does not fit, 422 where the bytes are not the picture of this name."
    ),
)
async def put_picture(request: CentralRequest, parts: Wired, sha256: Sha256Path) -> Response[None]:
    """Take a picture, or the next piece of it."""
    device_id = device_of(request).id
    row, wanted = await _held_and_wanted(parts, sha256, device_id)
    if wanted is None:
        raise ProblemError(403, f"no accepted reading of {device_id} names picture {sha256} (nothing asked for it)")
    folder = parts.settings.images_dir
    if row is not None and _settled(row, folder):
        return Response(None, status_code=200, headers={"upload-offset": str(row.bytes)})
    start, total = _range_of(request, wanted)
    try:
        offset = await _append_body(request, parts, sha256, start, total)
        if offset < total:
            return Response(None, status_code=202, headers={"upload-offset": str(offset)})
        image = await anyio.to_thread.run_sync(images.finish, folder, sha256)
    except images.ImageError as error:
        raise _refusal(error) from error
    async with transaction(parts.engine) as connection:
        await images.record(connection, image, device_id=device_id, now=parts.now())
    parts.live.announce()
    return Response(None, status_code=201, headers={"upload-offset": str(image.bytes)})


def _settled(row: ImageRow, folder: Path) -> bool:
    """Whether nobody needs to send it: it is here, or it was and is kept no longer."""
    return row.removed_at is not None or images.path(folder, row.sha256) is not None


async def _held_and_wanted(parts: Parts, sha256: str, device_id: str) -> tuple[ImageRow | None, int | None]:
    """The picture's row, if it is here, and its size, if a reading of this device names it."""
    async with reading(parts.engine) as connection:
        return await get_image(connection, sha256), await picture_of_device(connection, sha256, device_id)


async def _append_body(request: CentralRequest, parts: Parts, sha256: str, start: int, total: int) -> int:
    """Write the body piece by piece as it arrives, so that what came before a broken line is kept."""
    held, at = bytearray(), start
    folder = parts.settings.images_dir

    async def write() -> int:
        piece = bytes(held)
        held.clear()
        return await anyio.to_thread.run_sync(images.append, folder, sha256, at, total, piece)

    async for chunk in request.stream():
        held += chunk
        if len(held) >= CHUNK_BYTES:
            at = await write()
    return await write() if held or at == start else at


def _range_of(request: CentralRequest, wanted: int) -> tuple[int, int]:
    """(start, total) of the body; the total must be the size that the reading named."""
    text = request.headers.get("content-range")
    if text is None:
        return 0, wanted
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ProblemError(400, f"Content-Range {text[:80]!r} (expected 'bytes a-b/total')")
    start, end, total = (int(group) for group in match.groups())
    if not start <= end < total:
        raise ProblemError(400, f"Content-Range {text!r} (expected a ≤ b < total)")
    if total != wanted:
        raise ProblemError(422, f"a picture of {total} bytes (the reading says {wanted})")
    return start, total


def _refusal(error: images.ImageError) -> ProblemError:
    match error:
        case images.WrongOffsetError():
            return ProblemError(409, str(error), {"upload-offset": str(error.offset)})
        case images.TooLargeError():
            return ProblemError(413, str(error))
        case images.WrongDigestError():
            return ProblemError(422, str(error), {"upload-offset": "0"})
        case _:
            return ProblemError(422, str(error))

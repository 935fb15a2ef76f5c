"""Pictures over HTTP: whole, in pieces, resumed; wrong ones refused; nothing outside the folder."""

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.results import images
from central.results.images import MAX_IMAGE_BYTES
from central.settings import Settings
from protocol.messages import Picture
from tests.central.web import Client, bearer, central, people, runs

pytestmark = pytest.mark.anyio

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4 + b"\xff\xd9"
NAME = hashlib.sha256(JPEG).hexdigest()


def picture(content: bytes = JPEG, **fields: Any) -> Picture:
    """A picture as a reading names it."""
    name = hashlib.sha256(content).hexdigest()
    return Picture(**({"sha256": name, "bytes": len(content), "width_px": 8, "height_px": 8,
                       "media_type": "image/jpeg", "name": "p.jpg"} | fields))  # fmt: skip


async def device(engine: AsyncEngine, **fields: Any) -> dict[str, str]:
    """The header of a device whose reading names the picture."""
    token = (await runs(engine, 1, picture=picture(**fields))).upload_token
    return {"authorization": f"Bearer {token}"}


async def put(client: Client, headers: dict[str, str], content: bytes, start: int | None = None) -> httpx.Response:
    """Send the picture, or a piece of it."""
    extra = {} if start is None else {"content-range": f"bytes {start}-{start + len(content) - 1}/{len(JPEG)}"}
    return await client.put(f"/api/v1/images/{NAME}", content=content, headers=headers | extra)


async def test_a_picture_is_taken_whole_and_people_see_it(engine: AsyncEngine, settings: Settings) -> None:
    await people(engine)
    headers = await device(engine)
    async with central(settings) as client:
        assert (await put(client, headers, JPEG)).status_code == 201
        assert (await put(client, headers, JPEG)).status_code == 200
        answer = await client.get(f"/api/v1/images/{NAME}", headers=await bearer(client))
        run = (await client.get("/api/v1/runs", headers=await bearer(client))).json()["items"][0]
    assert (answer.content, answer.headers["content-type"]) == (JPEG, "image/jpeg")
    assert "immutable" in answer.headers["cache-control"]
    assert run["image_url"] == f"/api/v1/images/{NAME}"


async def test_an_upload_that_was_cut_goes_on_where_it_stands(engine: AsyncEngine, settings: Settings) -> None:
    headers = await device(engine)
    async with central(settings) as client:
        first = await put(client, headers, JPEG[:300], 0)
        stands = await client.head(f"/api/v1/images/{NAME}", headers=headers)
        last = await put(client, headers, JPEG[300:], 300)
        whole = await client.head(f"/api/v1/images/{NAME}", headers=headers)
    assert (first.status_code, first.headers["upload-offset"]) == (202, "300")
    assert (stands.status_code, stands.headers["upload-offset"]) == (404, "300")
    assert (last.status_code, whole.status_code) == (201, 200)


async def test_an_upload_whose_end_came_just_before_a_crash_can_be_finished(
    engine: AsyncEngine, settings: Settings
) -> None:
    headers = await device(engine)
    images.append(settings.images_dir, NAME, 0, len(JPEG), JPEG)
    async with central(settings) as client:
        stands = await client.head(f"/api/v1/images/{NAME}", headers=headers)
        at = int(stands.headers["upload-offset"])
        last = await put(client, headers, JPEG[at:], at)
    assert (stands.status_code, last.status_code) == (404, 201)


async def test_a_piece_at_the_wrong_place_is_told_the_right_one(engine: AsyncEngine, settings: Settings) -> None:
    headers = await device(engine)
    async with central(settings) as client:
        await put(client, headers, JPEG[:100], 0)
        answer = await put(client, headers, JPEG[500:600], 500)
    assert (answer.status_code, answer.headers["upload-offset"]) == (409, "100")


async def test_other_bytes_than_the_name_says_are_refused_and_the_upload_begins_again(
    engine: AsyncEngine, settings: Settings
) -> None:
    headers = await device(engine)
    async with central(settings) as client:
        wrong = await put(client, headers, JPEG[:-1] + b"x")
        right = await put(client, headers, JPEG)
    assert (wrong.status_code, wrong.headers["upload-offset"], right.status_code) == (422, "0", 201)


@pytest.mark.parametrize("content_range", ["bytes 0-9/99999", "bytes 5-2/1030", "bytes */5", "0-1/2", "bytes 0-1/*"])
async def test_a_range_that_does_not_fit_the_reading_is_refused(
    engine: AsyncEngine, settings: Settings, content_range: str
) -> None:
    headers = await device(engine) | {"content-range": content_range}
    async with central(settings) as client:
        answer = await client.put(f"/api/v1/images/{NAME}", content=b"0123456789", headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]


async def test_more_bytes_than_the_reading_says_are_refused(engine: AsyncEngine, settings: Settings) -> None:
    headers = await device(engine)
    async with central(settings) as client:
        answer = await put(client, headers, JPEG + b"more")
    assert answer.status_code == 422


async def test_a_picture_larger_than_any_is_refused(engine: AsyncEngine, settings: Settings) -> None:
    headers = await device(engine)
    async with central(settings) as client:
        answer = await client.put(f"/api/v1/images/{NAME}", content=bytes(MAX_IMAGE_BYTES + 1), headers=headers)
    assert answer.status_code in (413, 422)


async def test_a_device_can_neither_send_nor_see_another_devices_picture(
    engine: AsyncEngine, settings: Settings
) -> None:
    await device(engine)
    other = {"authorization": f"Bearer {(await runs(engine, device_id='bench-2')).upload_token}"}
    async with central(settings) as client:
        assert (await put(client, other, JPEG)).status_code == 403
        stands = await client.head(f"/api/v1/images/{NAME}", headers=other)
    assert (stands.status_code, stands.headers["upload-offset"]) == (404, "0")


@pytest.mark.parametrize(
    "name", ["..%2f..%2fcentral.db", "%2e%2e%2fx", "A" * 64, "0" * 63, "0" * 65, "%00", "..", "x/y"]
)
async def test_a_name_that_is_no_digest_reaches_no_file(
    engine: AsyncEngine, settings: Settings, tmp_path: Path, name: str
) -> None:
    await people(engine)
    headers = await device(engine)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    async with central(settings) as client:
        read = await client.get(f"/api/v1/images/{name}", headers=await bearer(client))
        written = await client.put(f"/api/v1/images/{name}", content=JPEG, headers=headers)
    assert read.status_code in (400, 404, 405)
    assert written.status_code in (400, 404, 405)
    made = {path for path in map(str, tmp_path.rglob("*")) if path not in before}
    assert all("signing-key" in path or "sealing-key" in path or "central.db" in path for path in made)


@pytest.mark.parametrize("path", ["/static/..%2fpages.py", "/static/%2e%2e/pages.py", "/swagger-ui/..%2f__init__.py"])
async def test_static_files_stay_in_their_folder(engine: AsyncEngine, settings: Settings, path: str) -> None:
    async with central(settings) as client:
        assert (await client.get(path)).status_code in (403, 404)

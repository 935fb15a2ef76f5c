"""No name from outside becomes a path: pictures are called by their digest, backups put back what is ours."""

import hashlib
import io
import tarfile
from pathlib import Path

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.copies.backup import About, BackupError, Contents, back_up, check, restore
from central.results import images
from central.settings import Settings
from tests.central.web import people
from tests.make import NOON

pytestmark = pytest.mark.anyio

NAMES = (
    "../evil", "../../evil", "/tmp/evil", "..\\evil", "a/../../evil", "evil\x00.jpg", "%2e%2e/evil", "~/evil", "",
    ".", "..", "\u202e", "a" * 5000, "é" * 64, "0" * 63, "0" * 65, "G" * 64, "0" * 63 + "\n", "０" * 64,
)  # fmt: skip


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_called_by_its_digest_or_not_at_all(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for attempt in (
        lambda: images.store(folder, name, b"x"),
        lambda: images.append(folder, name, 0, 1, b"x"),
        lambda: images.path(folder, name),
        lambda: images.finish(folder, name),
    ):
        with pytest.raises(images.ImageError, match="not a SHA-256"):
            attempt()
    assert files(tmp_path) == {"images"}


def test_a_link_in_the_place_of_an_upload_is_not_followed(tmp_path: Path) -> None:
    sha256, victim = hashlib.sha256(b"x").hexdigest(), tmp_path / "victim"
    victim.write_text("precious")
    images.append(tmp_path / "images", sha256, 0, 2, b"x")
    (part,) = (path for path in (tmp_path / "images").rglob("*") if path.is_file())
    part.unlink()
    part.symlink_to(victim)
    with pytest.raises(OSError, match=r"symbolic|Too many levels"):
        images.append(tmp_path / "images", sha256, 0, 2, b"x")
    assert victim.read_text() == "precious"


def remade(source: Path, target: Path, files_: dict[str, str], more: dict[str, bytes]) -> Path:
    """A backup that somebody made up: with other files in it, whole by its own account."""
    about, contents = check(source)
    members = {}
    with tarfile.open(source) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            members[member.name] = file.read()
    members["backup.json"] = msgspec.json.encode(About(about.format, about.made_at, about.revision, files_))
    del members["end.json"]
    members |= more
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    members["end.json"] = msgspec.json.encode(Contents(contents.rows, contents.pictures, digests))
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return target


async def test_a_backup_that_somebody_made_up_writes_nowhere_else(
    engine: AsyncEngine, settings: Settings, tmp_path: Path
) -> None:
    await people(engine)
    folder = tmp_path / "data"
    folder.mkdir()
    inside = msgspec.structs.replace(settings, data_dir=folder)
    await back_up(inside, tmp_path / "b.tar", with_pictures=False, now=NOON)
    foreign = {"../evil": "x", "/tmp/wellread-evil": "x", "signing-key.json": "{}", "broker/port": "1883"}
    before = files(tmp_path)
    await restore(inside, remade(tmp_path / "b.tar", tmp_path / "c.tar", foreign, {}), replace=True, now=NOON)
    assert files(tmp_path) - before - {"c.tar"} == {"data/broker", "data/broker/port"}
    assert not Path("/tmp/wellread-evil").exists()


@pytest.mark.parametrize("member", ["pictures/../../evil", "pictures/" + "0" * 64, "tables/pg_shadow/000000.jsonl.zst"])
async def test_a_backup_with_a_member_that_is_none_of_ours_is_refused_whole(
    engine: AsyncEngine, settings: Settings, tmp_path: Path, member: str
) -> None:
    await people(engine)
    await back_up(settings, tmp_path / "b.tar", with_pictures=False, now=NOON)
    made_up = remade(tmp_path / "b.tar", tmp_path / "c.tar", {}, {member: b"rubble"})
    with pytest.raises(BackupError):
        await restore(settings, made_up, replace=True, now=NOON)
    assert not list(tmp_path.rglob("evil"))

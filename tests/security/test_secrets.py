"""A secret is where it must be and nowhere else; one out of an example is refused before anything starts."""

import json
import tarfile
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner
from sqlalchemy.ext.asyncio import AsyncEngine

from central.__main__ import main
from central.copies.backup import back_up
from central.settings import SAMPLES, Settings, load_settings
from tests.central.web import PASSWORD, bearer, central, people, runs
from tests.make import NOON

pytestmark = pytest.mark.anyio

CANARY = "canary-9d3f6b1c"
OWN = ("WELLREAD_BROKER_PASSWORD", "WELLREAD_DATABASE_URL")


@pytest.mark.parametrize("sample", sorted(SAMPLES))
def test_a_secret_out_of_an_example_is_refused_by_the_name_of_its_setting(sample: str) -> None:
    url = f"postgresql+asyncpg://wellread:{sample.upper()}@localhost/wellread"
    for name, value in (("WELLREAD_BROKER_PASSWORD", sample), ("WELLREAD_DATABASE_URL", url)):
        with pytest.raises(ValueError, match=name):
            load_settings({name: value})


def test_a_secret_of_ones_own_is_taken() -> None:
    url = f"postgresql+asyncpg://wellread:{CANARY}@localhost/wellread"
    assert load_settings({"WELLREAD_BROKER_PASSWORD": CANARY, "WELLREAD_DATABASE_URL": url}).database_url == url


def test_central_does_not_start_with_changeme(tmp_path: Path) -> None:
    environment = {"WELLREAD_BROKER_PASSWORD": "changeme", "WELLREAD_DATA_DIR": str(tmp_path / "data")}
    found = CliRunner().invoke(main, ["serve", "--port", "0"], env=environment)
    assert found.exit_code != 0
    assert "WELLREAD_BROKER_PASSWORD" in found.output
    assert not (tmp_path / "data").exists()


async def test_no_secret_is_in_logs_refusals_trail_or_backup(
    engine: AsyncEngine, settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    await people(engine)
    device = await runs(engine, 1)
    secrets, said = [CANARY, PASSWORD, device.upload_token, device.broker.password], []
    async with central(settings) as client:
        headers = await bearer(client, "admin")
        secrets.append(headers["authorization"].removeprefix("Bearer "))
        claim = (await client.post("/api/v1/claims", json={"name": "Bench 2"}, headers=headers)).json()["claim_code"]
        secrets += [claim, claim.replace("-", "")]
        for body in (
            {"name": "viewer", "password": CANARY},
            {"name": CANARY, "password": PASSWORD},
            {"password": CANARY},
        ):
            said.append((await client.post("/api/v1/tokens", json=body)).text)
        for token in (
            f"Bearer {CANARY}",
            f"Basic {CANARY}",
            f"Bearer {CANARY}.{CANARY}.{CANARY}",
            f"Bearer wr_{CANARY}",
        ):
            said.append((await client.get("/api/v1/runs", headers={"authorization": token})).text)
        enrol = {"claim_code": CANARY, "device_id": "bench-2", "agent": "0.1.0"}
        said.append((await client.post("/api/v1/enrolments", json=enrol)).text)
        said.append((await client.get("/api/v1/audit?limit=200", headers=headers)).text)
        client.app.state.parts = None  # and where nobody foresaw it
        said.append((await client.post("/api/v1/tokens", json={"name": "viewer", "password": PASSWORD})).text)
    await back_up(settings, tmp_path / "b.tar", with_pictures=False, now=NOON)
    said += ["".join(capfd.readouterr()), contents(tmp_path / "b.tar")]
    assert "request_failed" in said[-2]
    found = [(number, secret[:12]) for number, text in enumerate(said) for secret in secrets if secret in text]
    assert found == []


def contents(path: Path) -> str:
    """Every byte that a backup holds, unpacked."""
    found = []
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            read = file.read()
            packed = member.name.endswith(".zst")
            found.append(zstandard.ZstdDecompressor().stream_reader(read).read() if packed else read)
    return b"".join(found).decode()


async def test_every_file_of_the_data_folder_that_holds_a_secret_is_its_owners(
    engine: AsyncEngine, settings: Settings, tmp_path: Path
) -> None:
    await people(engine)
    async with central(settings) as client:
        await client.get("/api/v1/audit/export", headers=await bearer(client, "admin"))
    open_to_others = [
        path.name
        for path in tmp_path.rglob("*")
        if path.is_file() and not path.name.startswith("central.db") and path.stat().st_mode & 0o077
    ]
    assert open_to_others == []
    assert json.loads((tmp_path / "signing-key.json").read_text())["d"]

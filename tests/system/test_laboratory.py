"""The whole way, as its users go it: photograph → agent → broker → central → API."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.training.render import render_stage
from provisioning.processes import Central, wait_for
from tests.system.conftest import Bench, sign_in, wait_for_runs

pytestmark = pytest.mark.system


def test_a_reader_that_nobody_enrolled_keeps_its_readings_and_delivers_them_later(
    bench: Bench, central: Central, photograph: Path
) -> None:
    bench.show(photograph, "a.jpg", "b.jpg")
    with bench.running():
        wait_for("two saved readings", lambda: True if len(bench.events("saved")) == 2 else None)
        bench.enrol(central)
        with sign_in(central) as api:
            runs = wait_for_runs(api, 2)
    assert {run["id"] for run in runs} == {event["id"] for event in bench.events("saved")}


def test_a_plate_read_twice_is_two_runs_and_counts_once(bench: Bench, central: Central, photograph: Path) -> None:
    bench.enrol(central)
    bench.show(photograph, "first.jpg", "again.jpg")
    with bench.running(), sign_in(central) as api:
        wait_for_runs(api, 2)
        summary = api.get("/api/v1/submissions/S-7").raise_for_status().json()
        csv = api.get("/api/v1/submissions/S-7/labware.csv").raise_for_status()
    assert summary["summary"]["statistics"]["n"] == 8
    assert csv.text.splitlines()[1] == "S-7,S-7,No.,8"
    assert len(csv.text.splitlines()) == 15


def test_the_photograph_follows_its_reading(bench: Bench, central: Central, photograph: Path) -> None:
    bench.enrol(central)
    bench.show(photograph, "plate.jpg")
    with bench.running(), sign_in(central) as api:
        run = wait_for_runs(api, 1)[0]
        address = f"/api/v1/images/{run['image_sha256']}"
        picture = wait_for("the picture", lambda: a if (a := api.get(address)).status_code == 200 else None)
    assert picture.content == photograph.read_bytes()


def test_what_cannot_be_read_is_refused_by_name_and_disturbs_nothing(
    bench: Bench, central: Central, photograph: Path, tmp_path: Path
) -> None:
    text, stage, half, huge = (tmp_path / name for name in ("text.jpg", "stage.jpg", "half.jpg", "huge.jpg"))
    text.write_text("this is no photograph")
    assert cv2.imwrite(str(stage), render_stage(3, size_px=(1280, 920)))
    half.write_bytes(photograph.read_bytes()[: photograph.stat().st_size // 2])
    picture = cv2.imread(str(photograph))
    assert cv2.imwrite(str(huge), cv2.resize(picture, (7400, 5320)))
    bench.enrol(central)
    for path in (text, stage, half, huge):
        bench.show(path, path.name)
    bench.show(photograph, "zz-good.jpg")
    with bench.running(), sign_in(central) as api:
        runs = wait_for_runs(api, 2)
        wait_for("three refusals", lambda: True if len(bench.events("refused")) == 3 else None)
    refused = {event["photo"]: event for event in bench.events("refused")}
    assert refused["text.jpg"]["reason"] == "not_an_image"
    assert refused["stage.jpg"]["reason"] == "no_plate"
    assert "half.jpg" in refused
    assert all(event["detail"] for event in refused.values())
    assert {run["submission"] for run in runs} == {"S-7"}


def test_a_used_claim_code_and_a_wrong_password_are_refused_with_words(bench: Bench, central: Central) -> None:
    with sign_in(central) as api:
        wrong = api.post("/api/v1/tokens", json={"name": "admin", "password": "not this one"})
        claim = api.post("/api/v1/claims", json={"name": "Bench"}).raise_for_status().json()["claim_code"]
        request = {"claim_code": claim, "device_id": "reader-one", "agent": "0.1.0"}
        first = api.post("/api/v1/enrolments", json=request)
        second = api.post("/api/v1/enrolments", json=request | {"device_id": "reader-two"})
    assert wrong.status_code == 401
    assert first.status_code == 201
    assert second.status_code in {403, 409, 410}
    assert "used" in second.json()["detail"]


def test_noise_is_no_plate(bench: Bench, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (920, 1280, 3), dtype=np.uint8)
    path = tmp_path / "noise.png"
    assert cv2.imwrite(str(path), noise)
    shutil.copy(path, bench.inbox / "noise.png")
    with bench.running():
        wait_for("a refusal", lambda: True if bench.events("refused") else None)
    assert not bench.events("saved")

"""Enrolment: one id for ever, access kept for its owner only, central's own words when it refuses."""

import json
import os
import stat
from pathlib import Path

import httpx
import pytest

from edge_agent.link.enrol import Access, EnrolmentError, device_id, enrol, enrolment_file, load_access
from protocol.codec import as_json
from protocol.messages import BrokerAccess, Enrolment
from tests.edge_agent.web import Answer, Request, serving

OWN_ID = "reader-abcdefghij"
ENROLMENT = Enrolment(OWN_ID, "Bench 1", BrokerAccess("127.0.0.1", 1883, OWN_ID, "hunter2"), "wr_token")


def ask(url: str, state_dir: Path) -> Access:
    with httpx.Client() as client:
        return enrol(url, " CLAIM-1 ", state_dir, OWN_ID, client)


def test_a_reader_keeps_the_id_of_its_first_start(tmp_path: Path) -> None:
    first = device_id(tmp_path / "state", os.urandom)
    assert first.startswith("reader-")
    assert len(first) == len("reader-") + 10
    assert device_id(tmp_path / "state", os.urandom) == first


def test_a_device_id_that_was_edited_badly_is_named(tmp_path: Path) -> None:
    (tmp_path / "device_id").write_text("Bench One")
    with pytest.raises(EnrolmentError, match="'Bench One'"):
        device_id(tmp_path, os.urandom)


def test_access_is_kept_for_its_owner_only(tmp_path: Path) -> None:
    asked: list[Request] = []

    def answer(request: Request) -> Answer:
        asked.append(request)
        return Answer(201, as_json(ENROLMENT))

    with serving(answer) as url:
        ask(f"{url}/", tmp_path)
    assert (asked[0].method, asked[0].path) == ("POST", "/api/v1/enrolments")
    assert json.loads(asked[0].body)["claim_code"] == "CLAIM-1"
    assert stat.S_IMODE(enrolment_file(tmp_path).stat().st_mode) == 0o600
    assert load_access(tmp_path) == Access(url, ENROLMENT)


def test_the_configured_address_of_central_wins(tmp_path: Path) -> None:
    enrolment_file(tmp_path).write_bytes(as_json(ENROLMENT))
    access = load_access(tmp_path, "https://central.example.org")
    assert access is not None
    assert access.central_url == "https://central.example.org"


def test_a_reader_that_was_never_enrolled_has_no_access(tmp_path: Path) -> None:
    assert load_access(tmp_path) is None


def test_a_refused_claim_code_shows_centrals_words(tmp_path: Path) -> None:
    problem = json.dumps({"title": "Conflict", "status": 409, "detail": "claim code was used"}).encode()
    with (
        serving(lambda _: Answer(409, problem)) as url,
        pytest.raises(EnrolmentError, match=r"claim code was used \(HTTP 409\)"),
    ):
        ask(url, tmp_path)
    assert not enrolment_file(tmp_path).exists()


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"{}"])
def test_an_answer_that_is_no_enrolment_is_refused(tmp_path: Path, body: bytes) -> None:
    with serving(lambda _: Answer(201, body)) as url, pytest.raises(EnrolmentError, match="not an enrolment"):
        ask(url, tmp_path)


def test_an_enrolment_of_another_device_is_refused(tmp_path: Path) -> None:
    other = Enrolment("reader-other", "Bench 2", ENROLMENT.broker, "t")
    with serving(lambda _: Answer(201, as_json(other))) as url, pytest.raises(EnrolmentError, match="'reader-other'"):
        ask(url, tmp_path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "no address at all", "http://[::"])
def test_a_central_that_cannot_be_reached_is_named(tmp_path: Path, url: str) -> None:
    with pytest.raises(EnrolmentError, match="cannot reach central at"):
        ask(url, tmp_path)


def test_no_secret_is_in_a_repr_or_an_error(tmp_path: Path) -> None:
    document = json.loads(as_json(ENROLMENT)) | {"name": 7}
    enrolment_file(tmp_path).write_text(json.dumps(document))
    with pytest.raises(EnrolmentError) as error:
        load_access(tmp_path)
    shown = repr(Access("http://central", ENROLMENT)) + str(error.value)
    assert "hunter2" not in shown
    assert "wr_token" not in shown

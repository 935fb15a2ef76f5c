"""The command line: quick help, exit codes, and messages that say what to do."""

import contextlib
import json
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge_agent.__main__ import DEGRADED, main
from edge_agent.config import example_toml
from edge_agent.link.enrol import enrolment_file
from protocol.codec import as_json
from protocol.messages import BrokerAccess, Enrolment
from provisioning.processes import module_command, running, wait_for
from tests.edge_agent.bench import open_outbox, put
from tests.edge_agent.web import Answer, Request, serving
from tests.make import make_reading_id


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="wellread-agent")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with three readings: one settled, one quarantined, one waiting."""
    with closing(open_outbox(tmp_path)) as outbox:
        ids = put(outbox, 1, 2, 3)
        outbox.settle(ids[:1])
        outbox.quarantine(ids[1], "unknown_profile", "hi-97")
    return tmp_path


def test_an_agent_starts_without_what_only_a_look_at_its_outbox_needs() -> None:
    code = "import sys, edge_agent.compose; sys.exit('sqlite_utils' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("words", [(), ("queue",), ("queue", "list"), ("read",), ("config",)])
def test_help_has_a_short_name_everywhere(words: tuple[str, ...]) -> None:
    assert invoke(*words, "-h").output == invoke(*words, "--help").output


def test_help_names_every_command_without_loading_vision() -> None:
    code = "import sys; from edge_agent.__main__ import main; main(['--help'], standalone_mode=False);"
    shown = subprocess.run(
        [sys.executable, "-c", code + "print('cv2' in sys.modules)"], capture_output=True, text=True, check=True
    ).stdout
    assert all(f"  {name} " in shown for name in ("calibrate", "config", "doctor", "enrol", "queue", "read", "run"))
    assert shown.endswith("False\n")


def test_every_command_has_help() -> None:
    for command in ("run", "read", "calibrate", "enrol", "doctor", "queue", "config"):
        assert invoke(command, "--help").exit_code == 0


def test_the_version_is_shown() -> None:
    assert invoke("--version").output.startswith("wellread-agent, version 0.")


def test_the_queue_is_counted(state: Path) -> None:
    result = invoke("queue", "--json", "--state-dir", str(state))
    expected = {"pending": 1, "sent": 0, "settled": 1, "quarantined": 1, "pictures_wanted": 0, "refused": 0}
    assert json.loads(result.output) == expected


def test_the_queue_is_listed_with_the_reasons(state: Path) -> None:
    rows = [
        json.loads(line) for line in invoke("queue", "--state-dir", str(state), "list", "--json").output.splitlines()
    ]
    assert [(row["seq"], row["state"], row["rejected_code"]) for row in rows] == [
        (2, "quarantined", "unknown_profile"),
        (3, "pending", None),
    ]
    assert "unknown_profile" in invoke("queue", "--state-dir", str(state), "list").output


def test_quarantined_readings_are_requeued(state: Path) -> None:
    assert invoke("queue", "--state-dir", str(state), "requeue", "all").exit_code == 0
    assert json.loads(invoke("queue", "--json", "--state-dir", str(state)).output)["pending"] == 2


def test_requeueing_what_is_not_quarantined_is_an_error(state: Path) -> None:
    result = invoke("queue", "--state-dir", str(state), "requeue", make_reading_id(3))
    assert (result.exit_code, "not quarantined here" in result.output) == (1, True)


def test_a_queue_that_was_never_made_is_an_error(tmp_path: Path) -> None:
    result = invoke("queue", "--state-dir", str(tmp_path / "nowhere"))
    assert (result.exit_code, "no outbox at" in result.output) == (1, True)


def test_enrolling_prints_the_device_and_no_secret(tmp_path: Path) -> None:
    def answer(request: Request) -> Answer:
        own_id = json.loads(request.body)["device_id"]
        access = BrokerAccess("127.0.0.1", 1883, own_id, "hunter2")
        return Answer(201, as_json(Enrolment(own_id, "Bench 1", access, "wr_token")))

    with serving(answer) as url:
        result = invoke("enrol", "CLAIM", "--central", url, "--state-dir", str(tmp_path))
    assert result.exit_code == 0
    assert "Bench 1" in result.output
    assert "hunter2" not in result.output
    assert enrolment_file(tmp_path).exists()


def test_enrolling_without_an_address_is_a_usage_error(tmp_path: Path) -> None:
    assert invoke("enrol", "CLAIM", "--state-dir", str(tmp_path)).exit_code == 2


def test_a_refused_claim_code_shows_the_reason(tmp_path: Path) -> None:
    with serving(lambda _: Answer(409, b'{"detail": "claim code was used"}')) as url:
        result = invoke("enrol", "CLAIM", "--central", url, "--state-dir", str(tmp_path))
    assert (result.exit_code, "claim code was used" in result.output) == (1, True)


def test_the_configuration_is_checked_shown_and_exemplified(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(example_toml())
    assert invoke("config", "check", "--config", str(path)).output == "ok\n"
    assert json.loads(invoke("config", "show", "--config", str(path)).output)["seat"] == "top-left"
    assert invoke("config", "example").output == example_toml()


def test_a_typo_in_the_configuration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text("seet = 1")
    result = invoke("config", "check", "--config", str(path))
    assert (result.exit_code, "did you mean seat?" in result.output) == (1, True)


def test_the_doctor_names_what_is_missing_and_exits_degraded(tmp_path: Path) -> None:
    result = invoke("doctor", "--json", "--state-dir", str(tmp_path))
    checks = {check["check"]: check for check in map(json.loads, result.output.splitlines())}
    assert list(checks) == [
        "disk",
        "clock",
        "camera",
        "model",
        "calibration",
        "outbox",
        "agent",
        "enrolment",
        "central",
        "broker",
    ]
    assert result.exit_code == DEGRADED
    assert checks["outbox"]["ok"]
    assert "wellread-agent enrol" in checks["enrolment"]["detail"]


def agent_running(*arguments: str, log: Path) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    return running(module_command("edge_agent", "run", "--json", *arguments), log.with_suffix(".log"), stdout=log)


def wait_for_event(log: Path, event: str, part: str) -> dict[str, object]:
    def found() -> dict[str, object] | None:
        said = [json.loads(line) for line in log.read_text().split("\n")[:-1]]
        return next((one for one in said if (one["event"], one.get("part")) == (event, part)), None)

    return wait_for(f"{event} of {part}", found)


@pytest.mark.system
def test_with_a_wrong_configuration_and_a_wrong_model_the_agent_stays_and_resumes(tmp_path: Path) -> None:
    path, log = tmp_path / "agent.toml", tmp_path / "events"
    path.write_text("seet = 1")
    arguments = ("--config", str(path), "--state-dir", str(tmp_path / "state"), "--folder", str(tmp_path))
    with agent_running(*arguments, log=log) as agent:
        assert "did you mean seat?" in str(wait_for_event(log, "trouble", "configuration")["detail"])
        path.write_text(f'model_dir = "{tmp_path}/no-model"')
        assert "no-model" in str(wait_for_event(log, "trouble", "model")["detail"])
        doctored = json.loads(invoke("doctor", "--json", "--state-dir", str(tmp_path / "state")).output.split("\n")[6])
        assert (doctored["check"], doctored["ok"], "no-model" in doctored["detail"]) == ("agent", False, True)
        path.write_text("")
        wait_for_event(log, "mended", "model")
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(20) == 0


@pytest.mark.system
def test_without_a_state_folder_that_anybody_knows_a_wrong_configuration_ends_the_agent(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text("state_dir = 7")
    command = module_command("edge_agent", "run", "--config", str(path))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "state_dir" in done.stderr) == (1, True)

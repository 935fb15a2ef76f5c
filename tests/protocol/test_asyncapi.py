"""The machine-readable description of the protocol: it is the protocol's own, and others can read it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from protocol.asyncapi import asyncapi, asyncapi_json
from protocol.topics import CHANNELS

DESCRIPTION = Path(__file__).parents[2] / "docs" / "asyncapi.json"
PARSER = "@asyncapi/parser@3.6.3"
CHECK = """
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
const { Parser } = createRequire(process.cwd() + "/")("@asyncapi/parser");
const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
for (const one of diagnostics) console.log(one.severity, one.code, one.path.join("."), one.message);
process.exit(document && !diagnostics.some((one) => one.severity === 0) ? 0 : 1);
"""


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the AsyncAPI initiative's own parser is installed."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node is not installed")
    folder = tmp_path_factory.mktemp("parser")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", PARSER]
    try:
        done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=240)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm could not fetch {PARSER} within four minutes")
    if done.returncode:
        pytest.skip(f"npm could not fetch {PARSER}: {done.stderr.strip().splitlines()[-1:]}")
    (folder / "check.mjs").write_text(CHECK)
    return folder


def check(parser: Path, description: Path) -> subprocess.CompletedProcess[str]:
    node = shutil.which("node")
    assert node is not None
    command = [node, "check.mjs", str(description)]
    return subprocess.run(command, check=False, cwd=parser, capture_output=True, text=True, timeout=120)


def test_the_description_is_made_from_the_protocol() -> None:
    assert DESCRIPTION.read_text(encoding="utf-8") == asyncapi_json(), "run `make docs`"


def test_every_channel_is_described_and_goes_the_right_way() -> None:
    operations = asyncapi()["operations"].values()
    ways = {one["channel"]["$ref"].rsplit("/", 1)[1]: one["action"] for one in operations}
    expected = {name: "receive" if who == "device" else "send" for name, (who, _) in CHANNELS.items()}
    assert ways == expected | {"central": "send"}


def test_the_official_parser_reads_it(parser: Path) -> None:
    done = check(parser, DESCRIPTION)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_official_parser_would_say_what_is_wrong(parser: Path, tmp_path: Path) -> None:
    broken = asyncapi()
    broken["operations"]["sendAck"]["channel"]["$ref"] = "#/channels/nowhere"
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(broken))
    assert check(parser, path).returncode == 1

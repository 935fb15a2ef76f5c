"""What is installed was locked, what is listed is what is installed, and the same source gives the same wheel."""

import hashlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from provisioning.sbom import sbom

ROOT = Path(__file__).parents[2]
LOCKS = ("build", "central", "dev", "edge", "train")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_pinned_to_its_hashes(lock: str) -> None:
    entries = (ROOT / "requirements" / f"{lock}.txt").read_text().replace("\\\n", " ").splitlines()
    loose = [
        line[:80]
        for line in entries
        if line.strip() and not (re.match(r"\S+==[^\s;]+", line) and re.search(r"--hash=sha256:[0-9a-f]{64}", line))
    ]
    assert entries
    assert loose == []


def test_set_up_installs_nothing_without_its_hash_but_the_two_builds_of_pytorch() -> None:
    lines = [
        line for line in (ROOT / "Makefile").read_text().splitlines() if "install" in line and "pip" in line.lower()
    ]
    loose = [line for line in lines if "--require-hashes" not in line and "--no-deps" not in line]
    assert [line.split("install")[1].strip() for line in loose] == ["--quiet torch==2.13.0"]


def test_the_bill_lists_every_distribution_that_is_installed() -> None:
    listed = {(each["name"], each["version"]) for each in sbom()["components"]}
    installed = {(canonical(each.metadata["Name"]), each.version) for each in importlib.metadata.distributions()}
    assert installed - listed - {("wellread", importlib.metadata.version("wellread"))} == set()
    assert listed - installed == set()


def test_every_dependency_in_the_bill_is_a_component_of_it() -> None:
    document = sbom()
    references = {each["bom-ref"] for each in document["components"]}
    assert len(references) == len(document["components"])
    assert {needed for each in document["dependencies"] for needed in each["dependsOn"]} <= references


def test_every_distribution_that_central_needs_says_its_licence() -> None:
    names = set(re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements" / "central.txt").read_text(), re.MULTILINE))
    silent = [
        each["name"]
        for each in sbom()["components"]
        if each["name"] in {canonical(name) for name in names} and not each.get("licenses")
    ]
    assert silent == []


def test_the_bill_is_the_same_every_time() -> None:
    assert json.dumps(sbom()) == json.dumps(sbom())


def wheel(source: Path, target: Path) -> bytes:
    """The digest of a wheel that is built from these files."""
    words = [
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(target),
        str(source),
    ]
    environment = {"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": "1767225600", "HOME": str(target), "PIP_NO_INDEX": "1"}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = target.glob("*.whl")
    return hashlib.sha256(made.read_bytes()).digest()


@pytest.mark.system
def test_two_builds_of_one_source_are_one_wheel(tmp_path: Path) -> None:
    copies = []
    for name in ("first", "elsewhere/second"):
        copy = tmp_path / name
        copy.mkdir(parents=True)
        for part in ("protocol", "edge_agent", "central", "provisioning"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy2(ROOT / part, copy / part)
        copies.append(wheel(copy, tmp_path / f"{name}-wheel"))
    assert copies[0] == copies[1]


@pytest.mark.system
def test_a_wheel_holds_the_packages_and_nothing_of_the_repository(tmp_path: Path) -> None:
    copy = tmp_path / "source"
    for part in ("protocol", "edge_agent", "central", "provisioning", "docs", ".github"):
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / part, copy / part)
    (copy / ".git").mkdir()
    (copy / ".git" / "config").write_text("[core]\n")
    (copy / ".env").write_text("WELLREAD_BROKER_PASSWORD=of-a-developer\n")
    (copy / "central" / ".env").write_text("WELLREAD_BROKER_PASSWORD=of-a-developer\n")
    wheel(copy, tmp_path / "wheel")
    (made,) = (tmp_path / "wheel").glob("*.whl")
    with zipfile.ZipFile(made) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {each for each in tops if ".dist-info" not in each} == {"protocol", "edge_agent", "central", "provisioning"}
    assert [name for name in names if re.search(r"(^|/)\.(git|env|hg|svn)|\.(key|pem|db)$|~$|/tests?/", name)] == []

"""A release is built from a commit, signed, and refused where a byte of it is another."""

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from provisioning.release import ROOT, SIGNER, SUMS, ReleaseError, build, verify

pytestmark = pytest.mark.system


def key(folder: Path, name: str) -> Path:
    """A key of OpenSSH's without a passphrase."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed (apt-get install openssh-client)")
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name)]
    subprocess.run(words, check=True, capture_output=True)
    return folder / name


def signers(private: Path) -> Path:
    """The file that says whose signature counts."""
    file = private.with_suffix(".signers")
    file.write_text(f"{SIGNER} {private.with_suffix('.pub').read_text()}")
    return file


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `release`, made of this commit and signed with `key`."""
    there = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    if there.returncode != 0:
        pytest.skip(f"no repository here to make a release of: {there.stderr.strip()}")
    folder = tmp_path_factory.mktemp("release")
    build(folder / "release", key(folder, "key"))
    return folder


@pytest.fixture
def release(home: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(home / "release", tmp_path / "release"))


def test_a_release_is_as_it_was_signed_and_holds_what_is_installed(home: Path) -> None:
    names = verify(home / "release", signers(home / "key"))
    assert {name for name in names if not name.endswith(".whl")} == {
        "build.txt",
        "central.txt",
        "edge.txt",
        "sbom.json",
    }
    (wheel,) = (home / "release").glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        inside = set(file.namelist())
    assert {"central/__main__.py", "edge_agent/__main__.py", "models/hi-wells-v3/manifest.json"} <= inside
    assert not [name for name in inside if name.startswith("tests/")]


def test_the_bill_of_a_release_lists_what_runs_and_not_what_tests(home: Path) -> None:
    names = {each["name"] for each in json.loads((home / "release" / "sbom.json").read_text())["components"]}
    assert {"litestar", "numpy", "paho-mqtt"} <= names
    assert not {"pytest", "mypy", "schemathesis"} & names


def test_sha256sum_reads_the_sums(home: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", SUMS], cwd=home / "release", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["central.txt", "sbom.json", "*.whl", SUMS])
def test_one_other_byte_is_found(home: Path, release: Path, name: str) -> None:
    (path,) = release.glob(name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ReleaseError, match=r"not as they were signed|not signed by"):
        verify(release, signers(home / "key"))


def test_a_file_more_or_less_is_found(home: Path, release: Path) -> None:
    (release / "extra.txt").write_text("run me")
    with pytest.raises(ReleaseError, match=r"extra\.txt"):
        verify(release, signers(home / "key"))
    (release / "extra.txt").unlink()
    (release / "edge.txt").unlink()
    with pytest.raises(ReleaseError, match=r"edge\.txt"):
        verify(release, signers(home / "key"))


def test_the_signature_of_another_key_is_none(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="not signed by"):
        verify(home / "release", signers(key(tmp_path, "other")))


def test_a_release_is_never_written_over(home: Path) -> None:
    with pytest.raises(ReleaseError, match="a new folder"):
        build(home / "release", home / "key")

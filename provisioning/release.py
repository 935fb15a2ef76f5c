"""A release: the wheel of a commit, what it is installed with and made of, and a signature over all of it.

    python -m provisioning.release build FOLDER --key KEY     # KEY: an Ed25519 key of ssh-keygen's
    python -m provisioning.release verify FOLDER --signers FILE

The wheel is built from the commit's own files, dated as the commit is: the same commit gives the same bytes, so anybody
can build it again and compare. `SHA256SUMS` names every file of the folder, and OpenSSH signs it: who installs needs
`ssh-keygen` and `sha256sum`, nothing of ours. SECURITY.md says how.
"""

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from provisioning.sbom import sbom

ROOT: Final = Path(__file__).parents[1]
SUMS: Final = "SHA256SUMS"
SIGNATURE: Final = "SHA256SUMS.sig"
# Both are part of what is signed: a signature of another purpose, or by somebody else, is none of a release.
NAMESPACE: Final = "wellread-release"
SIGNER: Final = "release@wellread"


class ReleaseError(ValueError):
    """The folder is not what was signed, or cannot be made; the message says what was found and expected."""


def build(folder: Path, key: Path, commit: str = "HEAD") -> None:
    """Make the release of a commit in a new folder, signed with this key."""
    if folder.exists():
        raise ReleaseError(f"{folder} exists (expected a new folder)")
    folder.mkdir(parents=True)
    seconds = _run(["git", "log", "-1", "--format=%ct", commit]).strip()
    with TemporaryDirectory() as source:
        _unpack(commit, Path(source))
        _wheel(Path(source), folder, seconds)
        for name in ("build", "central", "edge"):
            (folder / f"{name}.txt").write_bytes((Path(source) / "requirements" / f"{name}.txt").read_bytes())
    locks = [path.read_text() for path in sorted(folder.glob("*.txt"))]
    (folder / "sbom.json").write_text(json.dumps(sbom(locks), indent=1) + "\n")
    (folder / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in _digests(folder)))
    _run(["ssh-keygen", "-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key), str(folder / SUMS)])


def verify(folder: Path, signers: Path) -> tuple[str, ...]:
    """The names of a release's files, each as it was signed; ReleaseError where one is another, missing or new."""
    sums = (folder / SUMS).read_bytes()
    words = ["ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-I", SIGNER]
    words += ["-f", str(signers), "-s", str(folder / SIGNATURE)]
    done = subprocess.run(words, input=sums, capture_output=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise ReleaseError(f"{folder / SUMS} is not signed by any of {signers}: {said}")
    signed = dict(line.split("  ", 1)[::-1] for line in sums.decode().splitlines())
    found = dict(_digests(folder))
    wrong = sorted(name for name in signed.keys() | found.keys() if signed.get(name) != found.get(name))
    if wrong:
        raise ReleaseError(f"not as they were signed: {', '.join(wrong)} (expected the files of {SUMS} and no others)")
    return tuple(signed)


def _unpack(commit: str, target: Path) -> None:
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(target, filter="data")


def _wheel(source: Path, target: Path, seconds: str) -> None:
    environment = os.environ | {"SOURCE_DATE_EPOCH": seconds}
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run([*words, "--no-build-isolation", "--wheel-dir", str(target), str(source)], environment)


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.iterdir()):
        if path.name not in (SUMS, SIGNATURE):
            yield path.name, hashlib.sha256(path.read_bytes()).hexdigest()


def _run(words: Sequence[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"{' '.join(words[:4])} … ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def main() -> None:
    """Build a release, or verify one; status 1 with the reason where that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m provisioning.release", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", help="make the release of a commit in a new folder")
    building.add_argument("folder", type=Path)
    building.add_argument("--key", type=Path, required=True, help="private key, as ssh-keygen makes it")
    building.add_argument("--commit", default="HEAD")
    checking = commands.add_parser("verify", help="see that a release is what was signed")
    checking.add_argument("folder", type=Path)
    checking.add_argument("--signers", type=Path, required=True, help=f"lines `{SIGNER} ssh-ed25519 …`")
    given = parser.parse_args()
    try:
        if given.command == "build":
            build(given.folder.absolute(), given.key.absolute(), given.commit)
            print(f"{given.folder}: signed")
        else:
            print("\n".join(f"{name}: as it was signed" for name in verify(given.folder, given.signers)))
    except (ReleaseError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

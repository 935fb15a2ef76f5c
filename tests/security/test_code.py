"""What no code of ours does: run text as code, call a shell, use a weak hash or cipher, or chance for a secret.

The linter refuses it in `make check`; here it is shown that it does, and that nothing is excused from it.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocol", "edge_agent", "central", "provisioning", "models")
SCRIPTS = sorted(path for folder in ("central", "edge_agent") for path in (ROOT / folder).rglob("*.js"))

# Each is refused by the rule beside it.
REFUSED = {
    "eval(given)": "S307",
    "exec(given)": "S102",
    "import pickle\npickle.loads(given)": "S301",
    "import marshal\nmarshal.loads(given)": "S302",
    "import subprocess\nsubprocess.run(given, shell=True)": "S602",
    "import os\nos.system(given)": "S605",
    "import hashlib\nhashlib.md5(given)": "S324",
    "import hashlib\nhashlib.new('sha1', given)": "S324",
    "from cryptography.hazmat.primitives.ciphers import algorithms, modes\nmodes.ECB()": "S305",
    "from cryptography.hazmat.primitives.ciphers import algorithms\nalgorithms.ARC4(given)": "S304",
    "import random\ntoken = random.randbytes(16)": "S311",
    "import tempfile\ntempfile.mktemp()": "S306",
    "import ssl\nssl._create_unverified_context()": "S323",
    "import httpx\nhttpx.get(given, verify=False)": "S501",
    "import xml.etree.ElementTree\nxml.etree.ElementTree.fromstring(given)": "S314",
    "import tarfile\ntarfile.open(given).extractall()": "S202",
    "import jinja2\njinja2.Environment(autoescape=False)": "S701",
    "import yaml\nyaml.load(given)": "S506",
}
# What is not for a secret: how long to wait until the next try.
OF_CHANCE = {"central/deliveries/running.py", "central/notices/running.py", "edge_agent/compose.py"}
# Which file may say the name of a hash that is weak, and why that is none: RFC 6238, which every authenticator app has.
SHA_1 = {"central/people/totp.py"}
HASHES = {"sha256", "sha512", "scrypt", "pbkdf2_hmac", "file_digest"}
# What does cryptography here; everything else in `cryptography` is out of bounds.
CRYPTOGRAPHY = {
    "cryptography.exceptions",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.serialization",
}
OTHERS = ("Crypto", "Cryptodome", "nacl", "jwt", "jose", "bcrypt", "passlib", "OpenSSL", "rsa", "ecdsa", "pyotp")


def lint(*words: str, source: str | None = None) -> list[dict[str, object]]:
    """What ruff finds, by the project's own configuration."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "json", *words]
    done = subprocess.run(command, cwd=ROOT, input=source, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module that is shipped, by its path."""
    for path in sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def imported(tree: ast.Module) -> set[str]:
    """The modules that one imports."""
    found = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    return found | {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("source", REFUSED)
def test_the_linter_refuses_what_is_dangerous(source: str) -> None:
    found = lint("--stdin-filename", "central/made_up.py", "-", source=f"given = 'x'\n{source}\n")
    assert REFUSED[source] in {each["code"] for each in found}


def test_nothing_that_is_shipped_is_excused_from_it() -> None:
    rules = ",".join(sorted(set(REFUSED.values())))
    found = lint("--ignore-noqa", "--select", rules, *PACKAGES)
    where = {(Path(str(each["filename"])).relative_to(ROOT).as_posix(), each["code"]) for each in found}
    assert {path for path, code in where if code == "S311"} <= OF_CHANCE
    assert {(path, code) for path, code in where if code != "S311"} == {("provisioning/release.py", "S202")} & where


def test_chance_decides_nothing_but_how_long_to_wait() -> None:
    found = {path for path, tree in modules() if "random" in imported(tree)}
    assert {path for path in found if not path.startswith("models/")} == OF_CHANCE


def test_no_other_code_does_cryptography_than_the_libraries_that_the_page_of_keys_names() -> None:
    for path, tree in modules():
        names = imported(tree)
        used = {name for name in names if name.partition(".")[0] == "cryptography"}
        assert used <= CRYPTOGRAPHY, path
        assert not [name for name in names if name.partition(".")[0] in OTHERS], path


def test_every_digest_is_of_the_second_family_but_in_one_time_codes() -> None:
    seen = set()
    for path, tree in modules():
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "hashlib"
        }
        used |= {
            name.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "hashlib"
            for name in node.names
        }
        seen |= used
        assert used <= HASHES | ({"sha1"} if path in SHA_1 else set()), path
    assert {"sha256", "sha1"} <= seen, "nothing was looked at"


def test_ciphers_are_authenticated_and_nothing_else() -> None:
    names = {
        name.name
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "cryptography.hazmat.primitives.ciphers.aead"
        for name in node.names
    }
    assert names == {"AESGCM", "ChaCha20Poly1305"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_runs_text_or_writes_to_a_key_from_outside(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write", text)
    assert not re.search(r"__proto__|\.prototype\b|Object\.assign|\.constructor\b", text)
    # `thing[name] = …` with a name from anywhere could be `__proto__`: a Map takes names, an object does not.
    assert not re.search(r"\w\[[^\]\d'\"]+\]\s*=[^=]", text)
    assert not re.search(r"set(Timeout|Interval)\(\s*['\"`]", text)


def test_scripts_were_looked_at() -> None:
    assert {path.name for path in SCRIPTS} >= {"app.js", "api.js"}

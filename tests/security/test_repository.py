"""No secret is in the repository: every tracked text is looked through, and what looks like one says why it is none."""

import subprocess
from pathlib import Path

import pytest
from detect_secrets import SecretsCollection
from detect_secrets.core.scan import get_plugins
from detect_secrets.settings import default_settings, transient_settings

ROOT = Path(__file__).parents[2]
TEXTS = (
    ".py",
    ".md",
    ".toml",
    ".html",
    ".js",
    ".css",
    ".sh",
    ".json",
    ".service",
    ".conf",
    ".yml",
    ".yaml",
    ".example",
)

# What looks like a secret and is none: file, kind, why.
NONE = {
    ("central/deliveries/places.py", "Secret Keyword"): "a key of a dict that is not kept in the clear",
    ("central/fleet/devices.py", "Base64 High Entropy String"): "the alphabet that claim codes are made of",
    ("central/mail.py", "Basic Auth Credentials"): "the form of an address, in a refusal",
    ("central/settings.py", "Basic Auth Credentials"): "the form of an address, in a docstring",
    ("central/settings.py", "Secret Keyword"): "the form of an address, in a docstring",
    ("central/web/examples.py", "Hex High Entropy String"): "an example in the API's description",
    ("central/web/examples.py", "Secret Keyword"): "an example in the API's description",
    ("docs/operations.md", "Basic Auth Credentials"): "the form of an address",
    ("docs/operations.md", "Secret Keyword"): "the form of an address",
    ("edge_agent/link/enrol.py", "Base64 High Entropy String"): "an alphabet",
    ("edge_agent/outbox/packing.py", "Hex High Entropy String"): "the digest of a dictionary that is shipped",
    ("docs/security.toml", "Secret Keyword"): "the short name of a file of tests",
}
# Guesses by entropy and by names of variables; tests are full of made-up secrets that these would find.
GUESSES = ("Base64HighEntropyString", "HexHighEntropyString", "KeywordDetector", "BasicAuthDetector")


def tracked() -> list[str]:
    """Every text that is in the repository; the hashes of a lock or of a network look like nothing but secrets."""
    found = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip("this is no checkout (expected git to list its files)")
    names = [name for name in found.stdout.splitlines() if name.endswith(TEXTS) or Path(name).suffix == ""]
    hashes = ("requirements/", "manifest.json")
    return [
        name for name in names if not name.startswith(hashes) and not name.endswith(hashes) and (ROOT / name).is_file()
    ]


def looks(names: list[str]) -> set[tuple[str, str]]:
    """(file, kind) of what looks like a secret, with the plugins that are on."""
    found = SecretsCollection(root=str(ROOT))
    for name in names:
        found.scan_file(name)
    return {(name, secret.type) for name, secret in found}


def test_nothing_that_is_shipped_holds_a_secret() -> None:
    with default_settings():
        assert looks([name for name in tracked() if not name.startswith("tests/")]) - set(NONE) == set()


def test_no_test_holds_a_key_or_a_token_of_somebodys() -> None:
    with default_settings():
        kinds = [{"name": type(each).__name__} for each in get_plugins() if type(each).__name__ not in GUESSES]
    with transient_settings({"plugins_used": kinds}):
        assert looks([name for name in tracked() if name.startswith("tests/")]) == set()


@pytest.mark.parametrize(
    "planted",
    [
        "-----BEGIN " + "PRIVATE KEY-----",
        'key = "AKIA' + 'IOSFODNN7ABCDEFG"',
        'api_key = "f7a93bd0c1' + 'e84d52a6b90f3c7d18e264"',
    ],
)
def test_a_secret_that_is_there_is_found(tmp_path: Path, planted: str) -> None:
    (tmp_path / "settings.py").write_text(f"{planted}\n")
    with default_settings():
        found = SecretsCollection(root=str(tmp_path))
        found.scan_file("settings.py")
    assert [name for name, _ in found]

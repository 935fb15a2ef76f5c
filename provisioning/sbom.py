"""What Wellread is made of, as a CycloneDX 1.6 document: every distribution that is installed here, with its licence.

`python -m provisioning.sbom > sbom.json`. It reads what is installed and asks nobody, so it works without internet; the
same environment gives the same bytes.
"""

import json
import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions, version
from typing import Any


def sbom(locks: Iterable[str] | None = None) -> dict[str, Any]:
    """The document: of everything that is installed, or only of what these lock files (their text) name of it."""
    ours = {"type": "application", "bom-ref": "wellread", "name": "wellread", "version": version("wellread")}
    found = {_name(each): each for each in distributions() if _name(each) != "wellread"}
    if locks is not None:
        named = {_canonical(name) for lock in locks for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}
        found = {name: each for name, each in found.items() if name in named}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": ours | {"licenses": [{"expression": "MIT"}]}},
        "components": [_component(name, found[name]) for name in sorted(found)],
        "dependencies": [
            {"ref": _reference(name, found[name]), "dependsOn": _needs(found[name], found)} for name in sorted(found)
        ],
    }


def _component(name: str, distribution: Distribution) -> dict[str, Any]:
    made = {
        "type": "library",
        "bom-ref": _reference(name, distribution),
        "name": name,
        "version": distribution.version,
        "purl": _reference(name, distribution),
    }
    licences = _licences(distribution)
    return made | ({"licenses": licences} if licences else {})


def _licences(distribution: Distribution) -> list[dict[str, Any]]:
    """As the package says it: an SPDX expression, the first line of its text, or its classifiers."""
    said = distribution.metadata
    if said["License-Expression"]:
        return [{"expression": said["License-Expression"]}]
    text = (said["License"] or "").strip().partition("\n")[0]
    if 0 < len(text) <= 100:
        return [{"license": {"name": text}}]
    classifiers = [line for line in said.get_all("Classifier") or [] if line.startswith("License ::")]
    return [{"license": {"name": line.rsplit(" :: ", 1)[-1]}} for line in classifiers]


def _needs(distribution: Distribution, found: dict[str, Distribution]) -> list[str]:
    names = {_canonical(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) for line in distribution.requires or []}
    return sorted(_reference(name, found[name]) for name in names if name in found)


def _reference(name: str, distribution: Distribution) -> str:
    return f"pkg:pypi/{name}@{distribution.version}"


def _name(distribution: Distribution) -> str:
    return _canonical(distribution.metadata["Name"])


def _canonical(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    json.dump(sbom(), sys.stdout, indent=1)
    sys.stdout.write("\n")

"""docs/security.md, made of docs/security.toml: every requirement of ASVS 5.0.0, levels 1 and 2, and where it stands.

`python -m tests.security.table` writes the page. A requirement is met only if a test is named that shows it.
"""

import tomllib
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "docs" / "security.toml"
PAGE: Final = ROOT / "docs" / "security.md"

CHAPTERS: Final = (
    "Encoding and sanitization", "Validation and business logic", "Web frontend", "API and web services", "Files",
    "Authentication", "Sessions", "Authorization", "Self-contained tokens", "OAuth and OIDC", "Cryptography",
    "Communication", "Configuration", "Data protection", "Coding and architecture", "Logging and errors", "WebRTC",
)  # fmt: skip

_HEAD: Final = """\
# Security, requirement by requirement

Made by `make docs` from `security.toml`; do not edit. The numbers are those of the OWASP Application Security
Verification Standard 5.0.0, levels 1 and 2; the words are ours: read the standard beside them.

**met** names the tests that show it; without one nothing is met. **not met** says what is missing, also where the thing
is there and only its proof is not. How to report a weakness is in [SECURITY.md](../SECURITY.md).
"""


def load() -> dict[str, Any]:
    """The file as it is."""
    return tomllib.loads(SOURCE.read_text())


def state(entry: dict[str, Any]) -> str:
    """met, not met, or does not apply."""
    return {"met": "met", "missing": "not met", "na": "does not apply"}[next(name for name in entry if name != "tests")]


def shown_by(document: dict[str, Any], entry: dict[str, Any]) -> list[tuple[str, str]]:
    """(file, name) of the tests of a requirement."""
    named = (each.split("::") for each in entry.get("tests", []))
    return [(document["files"][file], name) for file, name in named]


def page() -> str:
    """The page."""
    document = load()
    lines = [_HEAD, *_summary(document)]
    chapter = 0
    for number, entry in document["requirement"].items():
        if int(number.split(".")[0]) != chapter:
            chapter = int(number.split(".")[0])
            lines += [
                "",
                f"## V{chapter} {CHAPTERS[chapter - 1]}",
                "",
                "| | level | | how, or what is missing | shown by |",
            ]
            lines.append("|---|---|---|---|---|")
        level = 1 if number in document["level_1"] else 2
        words = entry.get("met") or entry.get("missing") or entry["na"]
        shown = "<br>".join(f"`{file}` `{name}`" for file, name in shown_by(document, entry))
        lines.append(f"| {number} | {level} | {_strong(state(entry))} | {words} | {shown} |")
    return "\n".join(lines) + "\n"


def _strong(word: str) -> str:
    return f"**{word}**" if word == "not met" else word


def _summary(document: dict[str, Any]) -> list[str]:
    lines = ["| | level 1 | level 2 | together |", "|---|---|---|---|"]
    for word in ("met", "not met", "does not apply"):
        numbers = [number for number, entry in document["requirement"].items() if state(entry) == word]
        first = sum(number in document["level_1"] for number in numbers)
        lines.append(f"| {word} | {first} | {len(numbers) - first} | {len(numbers)} |")
    return lines


if __name__ == "__main__":
    PAGE.write_text(page())

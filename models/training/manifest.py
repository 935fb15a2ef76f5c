"""Writes a manifest, and beside it the manifest's own digest: one flipped bit in a threshold is a wrong titre."""

import hashlib
import json
from pathlib import Path
from typing import Any


def save_manifest(release: Path, manifest: dict[str, Any]) -> None:
    """`manifest.json` and `manifest.sha256` of the release in this folder."""
    document = (json.dumps(manifest, indent=2) + "\n").encode()
    (release / "manifest.json").write_bytes(document)
    (release / "manifest.sha256").write_text(f"{hashlib.sha256(document).hexdigest()}  manifest.json\n")

"""Every test process starts with the project's own environment variables removed; no domain objects here."""

import os
from pathlib import Path

import pytest

_PLATES = os.environ.get("WELLREAD_PLATES")
for _name in [name for name in os.environ if name.startswith("WELLREAD_")]:
    del os.environ[_name]


@pytest.fixture(scope="session")
def plates() -> Path:
    """The folder of real photographs; the test is skipped where it is absent."""
    folder = Path(_PLATES) if _PLATES else Path(__file__).parents[2] / "shared" / "plates"
    if not folder.is_dir():
        pytest.skip(f"no photographs at {folder} (set WELLREAD_PLATES to a folder that has them)")
    return folder

"""The same databases as central's own tests; one kind is enough where what is tried lies above them."""

import shutil
from pathlib import Path

import pytest

from tests.central.conftest import anyio_backend, cheap_passwords, engine, migrated_file, postgres, settings

__all__ = ["anyio_backend", "cheap_passwords", "engine", "migrated_file", "postgres", "settings"]


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """URL of an empty SQLite database of this test alone."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_file, tmp_path / 'central.db')}"

"""What was answered to requests that say by a key of their own that they are one and the same."""

from typing import Final

from sqlalchemy import Column, Integer, LargeBinary, String, Table

from central.tables.columns import Json, UtcDateTime, metadata

# One request. While it has no status it is being worked on, or was broken off.
answers: Final = Table(
    "answers",
    metadata,
    Column("caller", String(80), primary_key=True),  # person:… | key:… | device:…
    Column("key", String(255), primary_key=True),  # as the caller chose it
    Column("fingerprint", String(64), nullable=False),  # SHA-256 of everything that was asked
    Column("begun_at", UtcDateTime, nullable=False, index=True),
    Column("status", Integer),
    Column("headers", Json),
    Column("body", LargeBinary),  # sealed: it may hold a secret that is shown once
)

"""Every change by anyone, in a chain: each entry carries the hash of the one before it.

Nothing here is changed or deleted, and triggers refuse it; what somebody does behind the triggers breaks the chain,
and the signed heads say how long it was.
"""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from central.tables.columns import UtcDateTime, metadata

audit_entries: Final = Table(
    "audit_entries",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3, … without a gap
    Column("at", UtcDateTime, nullable=False),
    Column("actor_kind", String(16), nullable=False),  # person | key | device | command | system
    Column("actor_id", String(64), nullable=False),
    Column("address", String(64)),
    Column("site_id", String(64)),  # null: of no single site
    Column("action", String(64), nullable=False),  # "run.void"
    Column("object_kind", String(16), nullable=False),
    Column("object_id", String(200), nullable=False),
    Column("old", Text),  # canonical JSON
    Column("new", Text),
    Column("reason", Text),
    Column("request_id", String(64)),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Index("ix_audit_entries_object_kind_object_id", "object_kind", "object_id"),
    Index("ix_audit_entries_at", "at"),
)

# The newest entry: one row, and the lock that keeps writers in line.
audit_tip: Final = Table(
    "audit_tip",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("number", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)

# What the chain's end was, signed; the same is written to a file, outside of the database.
audit_heads: Final = Table(
    "audit_heads",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", String(64), nullable=False),
    Column("signed_at", UtcDateTime, nullable=False),
    Column("public_key", String(64), nullable=False),
    Column("signature", String(128), nullable=False),
)

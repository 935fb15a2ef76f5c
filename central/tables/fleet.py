"""Readers and the codes that make one."""

from typing import Final

from sqlalchemy import Column, ForeignKey, String, Table, Text

from central.tables.columns import Json, UtcDateTime, metadata

devices: Final = Table(
    "devices",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("enrolled_at", UtcDateTime, nullable=False),
    Column("broker_password_hash", Text, nullable=False),  # in Mosquitto's own form
    Column("upload_token_sha256", String(64), nullable=False, unique=True),
    Column("revoked_at", UtcDateTime),
    Column("status", Json),  # the last DeviceStatus
    Column("status_at", UtcDateTime),
    Column("public_key", String(64)),  # Ed25519, hexadecimal; null for a reader that sent none when it enrolled
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False),  # whose readings its readings are
)

# One-time codes: only the hash is kept, and using one is a single conditional update.
claims: Final = Table(
    "claims",
    metadata,
    Column("code_sha256", String(64), primary_key=True),
    Column("name", String(64), nullable=False),  # what the device will be called
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
    Column("device_id", String(63), ForeignKey("devices.id")),
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False),  # where the device will belong
)

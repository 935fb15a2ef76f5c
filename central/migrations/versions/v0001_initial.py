"""The first tables."""

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: Final = "0001"
down_revision: Final = None

_JSON: Final = sa.JSON().with_variant(JSONB(), "postgresql")
_NUMBER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _at(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, length: int, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length), nullable=nullable)


def upgrade() -> None:
    """To this step."""
    _runs()
    _dead_letters_and_images()
    _people_and_devices()


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        _text("id", 36),
        _text("device_id", 63),
        _text("epoch", 36),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        _text("digest", 64),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("historical", sa.Boolean(), nullable=False),
        _at("captured_at"),
        _at("received_at"),
        _text("submission", 64, nullable=True),
        _text("test", 64, nullable=True),
        _text("plate_number", 64, nullable=True),
        _text("profile", 64),
        sa.Column("profile_version", sa.Integer(), nullable=False),
        sa.Column("plate_format", sa.Integer(), nullable=False),
        sa.Column("wells", _JSON, nullable=False),
        sa.Column("endpoints", _JSON, nullable=False),
        _text("model", 64),
        _text("image_sha256", 64),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_runs")),
        sa.UniqueConstraint("id", name=op.f("uq_runs_id")),
        sa.UniqueConstraint("device_id", "epoch", "seq", name=op.f("uq_runs_device_id_epoch_seq")),
    )
    op.create_index("ix_runs_submission_test_plate_number", "runs", ["submission", "test", "plate_number"])
    op.create_index("ix_runs_image_sha256", "runs", ["image_sha256"])


def _dead_letters_and_images() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        _at("received_at"),
        sa.Column("topic", sa.Text(), nullable=False),
        _text("device_id", 63, nullable=True),
        _text("code", 32),
        sa.Column("detail", sa.Text(), nullable=False),
        _text("digest", 64),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_dead_letters")),
        sa.UniqueConstraint("topic", "digest", name=op.f("uq_dead_letters_topic_digest")),
    )
    op.create_table(
        "images",
        _text("sha256", 64),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        _text("media_type", 32),
        _at("stored_at"),
        _text("device_id", 63),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_images")),
    )


def _people_and_devices() -> None:
    op.create_table(
        "users",
        _text("id", 36),
        _text("name", 64),
        sa.Column("password_hash", sa.Text(), nullable=False),
        _text("role", 16),
        _at("created_at"),
        _at("signed_out_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )
    op.create_table(
        "devices",
        _text("id", 63),
        _text("name", 64),
        _at("enrolled_at"),
        sa.Column("broker_password_hash", sa.Text(), nullable=False),
        _text("upload_token_sha256", 64),
        _at("revoked_at", nullable=True),
        sa.Column("status", _JSON, nullable=True),
        _at("status_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("upload_token_sha256", name=op.f("uq_devices_upload_token_sha256")),
    )
    op.create_table(
        "claims",
        _text("code_sha256", 64),
        _text("name", 64),
        _at("created_at"),
        _text("created_by", 64),
        _at("expires_at"),
        _at("used_at", nullable=True),
        _text("device_id", 63, nullable=True),
        sa.PrimaryKeyConstraint("code_sha256", name=op.f("pk_claims")),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_claims_device_id")),
    )


def downgrade() -> None:
    """Back to an empty database."""
    for name in ("claims", "devices", "users", "images", "dead_letters", "runs"):
        op.drop_table(name)

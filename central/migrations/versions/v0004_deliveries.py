"""Deliveries to laboratory systems, and the changes that they may read along."""

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: Final = "0004"
down_revision: Final = "0003"

_JSON: Final = sa.JSON().with_variant(JSONB(), "postgresql")
_NUMBER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """To this step."""
    _changes()
    _deliveries()


def _changes() -> None:
    op.create_table(
        "changes",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=True),
        sa.Column("plate_id", sa.String(36), nullable=True),
        sa.Column("submission_id", sa.String(36), nullable=True),
        sa.Column("delivery_id", sa.String(36), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_changes")),
    )
    op.create_index("ix_changes_site_id_number", "changes", ["site_id", "number"], unique=False)
    op.create_table(
        "changes_tip",
        sa.Column("one", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_changes_tip")),
    )
    op.execute("INSERT INTO changes_tip (one, number) VALUES (1, 0)")


def _deliveries() -> None:
    op.create_table(
        "delivery_rules",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("when", sa.String(16), nullable=False),
        sa.Column("of", sa.String(16), nullable=False),
        sa.Column("dialect", _JSON, nullable=False),
        sa.Column("target_kind", sa.String(16), nullable=False),
        sa.Column("target", _JSON, nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("in_force_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_delivery_rules_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_rules")),
    )
    op.create_index(op.f("ix_delivery_rules_site_id"), "delivery_rules", ["site_id"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("rule_id", sa.String(36), nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("subject_kind", sa.String(16), nullable=False),
        sa.Column("subject_id", sa.String(36), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("record_sha256", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=True),
        sa.Column("media_type", sa.String(100), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("content_sha256", sa.String(64), nullable=True),
        sa.Column("left_out", _JSON, nullable=True),
        sa.Column("said", _JSON, nullable=True),
        sa.Column("differences", _JSON, nullable=True),
        sa.Column("place", _JSON, nullable=True),
        sa.Column("supersedes_id", sa.String(36), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leased_by", sa.String(64), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_how", sa.String(64), nullable=True),
        sa.ForeignKeyConstraint(["rule_id"], ["delivery_rules.id"], name=op.f("fk_deliveries_rule_id")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_deliveries_site_id")),
        sa.ForeignKeyConstraint(["supersedes_id"], ["deliveries.id"], name=op.f("fk_deliveries_supersedes_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "rule_id", "subject_id", "revision", name=op.f("uq_deliveries_rule_id_subject_id_revision")
        ),
    )
    op.create_index("ix_deliveries_site_id_created_at", "deliveries", ["site_id", "created_at"], unique=False)
    op.create_index("ix_deliveries_state_due_at", "deliveries", ["state", "due_at"], unique=False)
    op.create_table(
        "delivery_log",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("delivery_id", sa.String(36), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_delivery_log_delivery_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_delivery_log")),
    )
    op.create_index(op.f("ix_delivery_log_delivery_id"), "delivery_log", ["delivery_id"], unique=False)


def downgrade() -> None:
    """Back to no deliveries."""
    for name in ("delivery_log", "deliveries", "delivery_rules", "changes_tip", "changes"):
        op.drop_table(name)

"""What is out and void since, and a notice of it."""

import uuid
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: Final = "0009"
down_revision: Final = "0008"

_JSON: Final = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """To this step."""
    op.add_column("deliveries", sa.Column("withdraws", sa.Text(), nullable=True))
    op.create_table(
        "withdrawals",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("delivery_id", sa.String(36), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("plate", sa.String(200), nullable=False),
        sa.Column("told_id", sa.String(36), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_by", sa.String(64), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_by", sa.String(64), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_withdrawals_site_id")),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_withdrawals_delivery_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_withdrawals_run_id")),
        sa.ForeignKeyConstraint(["told_id"], ["deliveries.id"], name=op.f("fk_withdrawals_told_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_withdrawals")),
    )
    op.create_index("ix_withdrawals_site_id_settled_at", "withdrawals", ["site_id", "settled_at"], unique=False)
    op.create_index("ix_withdrawals_told_id", "withdrawals", ["told_id"], unique=False)
    _first_rules()


def _first_rules() -> None:
    """Sites that are here already get the rule that a new one begins with."""
    rule = {
        "kind": "result_withdrawn", "title": "Withdrawn results are out", "opens_at": 1, "closes_at": 1, "hold_s": 0,
        "calm_s": 0, "window_s": 0, "least": 0, "revision": 1, "enabled": True, "tell_end": True, "recipients": [],
        "created_by": "system", "created_at": datetime.now(UTC),
    }  # fmt: skip
    columns: list[sa.ColumnClause[object]] = [
        sa.column(name) for name in ("id", "site_id", *rule) if name not in ("recipients", "created_at")
    ]
    table = sa.table(
        "notice_rules",
        *columns,
        sa.column("recipients", _JSON),
        sa.column("created_at", sa.DateTime(timezone=True)),
    )
    sites = op.get_bind().scalars(sa.text("SELECT id FROM sites ORDER BY id")).all()
    op.bulk_insert(table, [rule | {"id": str(uuid.uuid4()), "site_id": site_id} for site_id in sites])


def downgrade() -> None:
    """Back from it."""
    # What a rule of this kind told is of nothing that the version before knows.
    ours = "SELECT id FROM notice_rules WHERE kind = 'result_withdrawn'"
    op.execute(f"DELETE FROM notice_letters WHERE notice_id IN (SELECT id FROM notices WHERE rule_id IN ({ours}))")
    for name in ("notices", "notice_silences"):
        op.execute(f"DELETE FROM {name} WHERE rule_id IN ({ours})")
    op.execute("DELETE FROM notice_rules WHERE kind = 'result_withdrawn'")
    op.drop_table("withdrawals")
    op.drop_column("deliveries", "withdraws")

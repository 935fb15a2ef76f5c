"""Notices: what somebody ought to look at, and who was told; and the figures of each run."""

import uuid
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: Final = "0006"
down_revision: Final = "0005"

_JSON: Final = sa.JSON().with_variant(JSONB(), "postgresql")

# What a site begins with: kind, title, opens_at, closes_at, hold_s, calm_s, window_s, least.
_DEFAULTS: Final = (
    ("device_offline", "Device offline", 1800.0, 300.0, 60, 120, 0, 0),
    ("backlog_count", "Readings wait at a device", 50.0, 20.0, 600, 300, 0, 0),
    ("backlog_age", "A reading waits long", 14400.0, 3600.0, 300, 300, 0, 0),
    ("device_trouble", "Trouble at a device", 1.0, 1.0, 120, 300, 0, 0),
    ("disk_soon_full", "A disk is nearly full", 48.0, 72.0, 300, 600, 0, 0),
    ("clock_wrong", "A clock is wrong", 5.0, 2.0, 300, 300, 0, 0),
    ("calibration_drifted", "A bench has drifted", 3.0, 1.0, 0, 0, 0, 0),
    ("calibration_expired", "A calibration is old", 31536000.0, 31536000.0, 0, 0, 0, 0),
    ("low_grades", "Many low grades", 0.2, 0.1, 0, 3600, 86400, 40),
    ("control_failed", "Controls failed", 1.0, 1.0, 0, 0, 604800, 0),
    ("delivery_failed", "Deliveries failed", 1.0, 1.0, 0, 0, 0, 0),
    ("alarm_open", "Alarms are open", 1.0, 1.0, 0, 0, 0, 0),
    ("unmatched_waiting", "Runs of no known plate", 1.0, 1.0, 3600, 60, 0, 0),
)


def upgrade() -> None:
    """To this step; every site that is there gets the rules that a new one begins with."""
    _rules()
    _notices()
    _letters()
    _figures()
    _begin()


def _rules() -> None:
    op.create_table(
        "notice_rules",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("device_id", sa.String(63), nullable=True),
        sa.Column("opens_at", sa.Float(), nullable=False),
        sa.Column("closes_at", sa.Float(), nullable=False),
        sa.Column("hold_s", sa.Integer(), nullable=False),
        sa.Column("calm_s", sa.Integer(), nullable=False),
        sa.Column("window_s", sa.Integer(), nullable=False),
        sa.Column("least", sa.Integer(), nullable=False),
        sa.Column("repeat_s", sa.Integer(), nullable=True),
        sa.Column("tell_end", sa.Boolean(), nullable=False),
        sa.Column("recipients", _JSON, nullable=False),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_notice_rules_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice_rules")),
    )
    op.create_index(op.f("ix_notice_rules_site_id"), "notice_rules", ["site_id"], unique=False)
    op.create_table(
        "notice_silences",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("rule_id", sa.String(36), nullable=True),
        sa.Column("device_id", sa.String(63), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["rule_id"], ["notice_rules.id"], name=op.f("fk_notice_silences_rule_id")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_notice_silences_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice_silences")),
    )
    op.create_index(op.f("ix_notice_silences_site_id"), "notice_silences", ["site_id"], unique=False)
    op.create_table(
        "notice_turn",
        sa.Column("one", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("looked_by", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_notice_turn")),
    )


def _notices() -> None:
    op.create_table(
        "notices",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("rule_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("object_kind", sa.String(16), nullable=False),
        sa.Column("object_id", sa.String(64), nullable=False),
        sa.Column("device_id", sa.String(63), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tells", sa.Integer(), nullable=False),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.String(64), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["rule_id"], ["notice_rules.id"], name=op.f("fk_notices_rule_id")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_notices_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
    )
    op.create_index("ix_notices_site_id_opened_at", "notices", ["site_id", "opened_at"], unique=False)
    op.create_index(
        "ix_notices_standing",
        "notices",
        ["rule_id", "object_kind", "object_id"],
        unique=True,
        postgresql_where=sa.text("state <> 'closed'"),
        sqlite_where=sa.text("state <> 'closed'"),
    )


def _letters() -> None:
    op.create_table(
        "notice_letters",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("notice_id", sa.String(36), nullable=False),
        sa.Column("rule_id", sa.String(36), nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("recipient", sa.String(64), nullable=False),
        sa.Column("content", _JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leased_by", sa.String(64), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["notice_id"], ["notices.id"], name=op.f("fk_notice_letters_notice_id")),
        sa.ForeignKeyConstraint(["rule_id"], ["notice_rules.id"], name=op.f("fk_notice_letters_rule_id")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_notice_letters_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice_letters")),
        sa.UniqueConstraint(
            "notice_id",
            "round",
            "channel",
            "recipient",
            name=op.f("uq_notice_letters_notice_id_round_channel_recipient"),
        ),
    )
    op.create_index("ix_notice_letters_state_due_at", "notice_letters", ["state", "due_at"], unique=False)


def _figures() -> None:
    op.create_table(
        "run_figures",
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("device_id", sa.String(63), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("high", sa.Integer(), nullable=False),
        sa.Column("medium", sa.Integer(), nullable=False),
        sa.Column("low", sa.Integer(), nullable=False),
        sa.Column("calls", _JSON, nullable=False),
        sa.Column("quality", _JSON, nullable=False),
        sa.Column("drifted", sa.Integer(), nullable=False),
        sa.Column("calibrated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("controls_failed", sa.Text(), nullable=True),
        sa.Column("judged", sa.Integer(), nullable=False),
        sa.Column("exact", sa.Integer(), nullable=False),
        sa.Column("within_one", sa.Integer(), nullable=False),
        sa.Column("withheld", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_figures_run_id")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_run_figures_site_id")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run_figures")),
    )
    op.create_index("ix_run_figures_device_id_read_at", "run_figures", ["device_id", "read_at"], unique=False)
    op.create_index(
        "ix_run_figures_failed",
        "run_figures",
        ["site_id", "read_at"],
        unique=False,
        postgresql_where=sa.text("controls_failed IS NOT NULL"),
        sqlite_where=sa.text("controls_failed IS NOT NULL"),
    )
    op.create_index("ix_run_figures_site_id_read_at", "run_figures", ["site_id", "read_at"], unique=False)
    op.create_table(
        "figures_tip",
        sa.Column("one", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("followed", sa.BigInteger(), nullable=False),
        sa.Column("below", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_figures_tip")),
    )


def _begin() -> None:
    """The feed is followed from here on; runs that are here already get their figures bit by bit."""
    op.execute("INSERT INTO notice_turn (one) VALUES (1)")
    op.execute(
        "INSERT INTO figures_tip (one, followed, below) SELECT 1, (SELECT number FROM changes_tip),"
        " (SELECT coalesce(max(number), 0) + 1 FROM runs)"
    )
    names = ("kind", "title", "opens_at", "closes_at", "hold_s", "calm_s", "window_s", "least")
    rest = {"revision": 1, "enabled": True, "tell_end": True, "recipients": [], "created_by": "system"}
    rules = sa.table(
        "notice_rules",
        *(sa.column(name) for name in ("id", "site_id", *names, "revision", "enabled", "tell_end")),
        sa.column("created_at", sa.DateTime(timezone=True)),
        sa.column("recipients", _JSON),
        sa.column("created_by"),
    )
    rows = [
        dict(zip(names, values, strict=True)) | rest | {"id": str(uuid.uuid4()), "site_id": site_id}
        for site_id in op.get_bind().scalars(sa.text("SELECT id FROM sites ORDER BY id")).all()
        for values in _DEFAULTS
    ]
    now = datetime.now(UTC)
    op.bulk_insert(rules, [row | {"created_at": now} for row in rows])


def downgrade() -> None:
    """Back to no notices."""
    for name in (
        "figures_tip", "run_figures", "notice_letters", "notice_silences", "notices", "notice_turn", "notice_rules",
    ):  # fmt: skip
        op.drop_table(name)

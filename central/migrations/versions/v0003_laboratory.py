"""Sites, people with sessions and keys, the audit chain, and the laboratory's work: submissions to signatures.

What is here becomes the site `main`, which registers plates by their codes as central always did; every plate that a
run named is registered, and every run gets its record. Runs, corrections, signatures and the audit trail refuse from
now on to be changed or deleted.
"""

import uuid
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: Final = "0003"
down_revision: Final = "0002"

_JSON: Final = sa.JSON().with_variant(JSONB(), "postgresql")
_NUMBER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BATCH: Final = 1000
_SITE: Final = "main"
_ZERO: Final = "0" * 64
_FROZEN: Final = ("runs", "corrections", "signatures", "audit_entries", "audit_heads")


def upgrade() -> None:
    """To this step."""
    _people()
    _audit()
    _laboratory()
    _records()
    _first_site()
    _who_belongs_to_it()
    _register_what_was_read()
    _freeze()


def _people() -> None:
    op.create_table(
        "sites",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("unregistered", sa.String(16), nullable=False),
        sa.Column("four_eyes", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sites")),
    )
    op.create_table(
        "memberships",
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_memberships_site_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_user_id")),
        sa.PrimaryKeyConstraint("user_id", "site_id", name=op.f("pk_memberships")),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("agent", sa.String(200), nullable=False),
        sa.Column("proved", sa.String(16), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_why", sa.String(32), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"], unique=False)
    op.create_table(
        "refresh_tokens",
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("session_id", sa.String(36), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("successor_sha256", sa.String(64), nullable=True),
        sa.Column("retried_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_refresh_tokens_session_id")),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_refresh_tokens")),
    )
    op.create_index(op.f("ix_refresh_tokens_session_id"), "refresh_tokens", ["session_id"], unique=False)
    op.create_table(
        "invitations",
        sa.Column("code_sha256", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_invitations_user_id")),
        sa.PrimaryKeyConstraint("code_sha256", name=op.f("pk_invitations")),
    )
    op.create_index(op.f("ix_invitations_user_id"), "invitations", ["user_id"], unique=False)
    op.create_table(
        "identities",
        sa.Column("issuer", sa.String(200), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("linked_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_identities_user_id")),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("pk_identities")),
    )
    op.create_index(op.f("ix_identities_user_id"), "identities", ["user_id"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("scopes", _JSON, nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_api_keys_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_table(
        "comments",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("object_kind", sa.String(16), nullable=False),
        sa.Column("object_id", sa.String(36), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_comments_site_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_comments_user_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_comments")),
    )
    op.create_index(op.f("ix_comments_object_id"), "comments", ["object_id"], unique=False)
    op.create_table(
        "alarms",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("object_kind", sa.String(16), nullable=False),
        sa.Column("object_id", sa.String(64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.String(64), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_alarms_site_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_alarms")),
    )


def _audit() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_kind", sa.String(16), nullable=False),
        sa.Column("actor_id", sa.String(64), nullable=False),
        sa.Column("address", sa.String(64), nullable=True),
        sa.Column("site_id", sa.String(64), nullable=True),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("object_kind", sa.String(16), nullable=False),
        sa.Column("object_id", sa.String(200), nullable=False),
        sa.Column("old", sa.Text(), nullable=True),
        sa.Column("new", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("request_id", sa.String(64), nullable=True),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_entries")),
        sa.UniqueConstraint("hash", name=op.f("uq_audit_entries_hash")),
    )
    op.create_index("ix_audit_entries_at", "audit_entries", ["at"], unique=False)
    op.create_index(
        "ix_audit_entries_object_kind_object_id", "audit_entries", ["object_kind", "object_id"], unique=False
    )
    op.create_table(
        "audit_tip",
        sa.Column("one", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_audit_tip")),
    )
    op.create_table(
        "audit_heads",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("public_key", sa.String(64), nullable=False),
        sa.Column("signature", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_heads")),
    )


def _laboratory() -> None:
    op.create_table(
        "submissions",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("received_on", sa.Date(), nullable=True),
        sa.Column("species", sa.String(100), nullable=True),
        sa.Column("farm", sa.String(100), nullable=True),
        sa.Column("flock", sa.String(100), nullable=True),
        sa.Column("age_days", sa.Integer(), nullable=True),
        sa.Column("vaccine", sa.String(200), nullable=True),
        sa.Column("vaccinated_on", sa.Date(), nullable=True),
        sa.Column("customer", sa.String(200), nullable=True),
        sa.Column("assignee_id", sa.String(36), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["assignee_id"], ["users.id"], name=op.f("fk_submissions_assignee_id")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_submissions_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submissions")),
        sa.UniqueConstraint("site_id", "name", name=op.f("uq_submissions_site_id_name")),
    )
    op.create_index(op.f("ix_submissions_farm"), "submissions", ["farm"], unique=False)
    op.create_table(
        "tests",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("submission_id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("profile", sa.String(64), nullable=True),
        sa.Column("antigen", sa.String(100), nullable=True),
        sa.Column("antigen_lot", sa.String(100), nullable=True),
        sa.Column("hau", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["submission_id"], ["submissions.id"], name=op.f("fk_tests_submission_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tests")),
        sa.UniqueConstraint("submission_id", "name", name=op.f("uq_tests_submission_id_name")),
    )
    op.create_table(
        "plates",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("test_id", sa.String(36), nullable=False),
        sa.Column("number", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("location", sa.String(200), nullable=True),
        sa.ForeignKeyConstraint(["test_id"], ["tests.id"], name=op.f("fk_plates_test_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plates")),
        sa.UniqueConstraint("test_id", "number", name=op.f("uq_plates_test_id_number")),
    )
    op.create_index("ix_plates_state", "plates", ["state"], unique=False)
    op.create_table(
        "sera",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("submission_id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["submission_id"], ["submissions.id"], name=op.f("fk_sera_submission_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sera")),
        sa.UniqueConstraint("submission_id", "name", name=op.f("uq_sera_submission_id_name")),
    )
    op.create_table(
        "control_sera",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("lot", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("profile", sa.String(64), nullable=False),
        sa.Column("antigen", sa.String(100), nullable=True),
        sa.Column("expected_log2", sa.Integer(), nullable=True),
        sa.Column("tolerance_log2", sa.Integer(), nullable=False),
        sa.Column("target_mean", sa.Float(), nullable=True),
        sa.Column("target_sd", sa.Float(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_control_sera_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_control_sera")),
        sa.UniqueConstraint("site_id", "name", "lot", name=op.f("uq_control_sera_site_id_name_lot")),
    )
    op.create_table(
        "placements",
        sa.Column("plate_id", sa.String(36), nullable=False),
        sa.Column("row", sa.String(8), nullable=False),
        sa.Column("serum_id", sa.String(36), nullable=True),
        sa.Column("control_serum_id", sa.String(36), nullable=True),
        sa.ForeignKeyConstraint(["control_serum_id"], ["control_sera.id"], name=op.f("fk_placements_control_serum_id")),
        sa.ForeignKeyConstraint(["plate_id"], ["plates.id"], name=op.f("fk_placements_plate_id")),
        sa.ForeignKeyConstraint(["serum_id"], ["sera.id"], name=op.f("fk_placements_serum_id")),
        sa.PrimaryKeyConstraint("plate_id", "row", name=op.f("pk_placements")),
    )
    op.create_table(
        "profiles",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("document", _JSON, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("activated_by", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("name", "version", name=op.f("pk_profiles")),
    )


def _records() -> None:
    op.create_table(
        "run_records",
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("site_id", sa.String(64), nullable=False),
        sa.Column("plate_id", sa.String(36), nullable=True),
        sa.Column("matched_by", sa.String(64), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("assay_version", sa.Integer(), nullable=False),
        sa.Column("revised", _JSON, nullable=True),
        sa.Column("worst_grade", sa.String(8), nullable=True),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("accepted_by", sa.String(64), nullable=True),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["plate_id"], ["plates.id"], name=op.f("fk_run_records_plate_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_records_run_id")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_run_records_site_id")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run_records")),
    )
    op.create_index("ix_run_records_plate_id", "run_records", ["plate_id"], unique=False)
    op.create_index("ix_run_records_site_id", "run_records", ["site_id"], unique=False)
    waiting = sa.text("accepted_at IS NULL AND voided_at IS NULL AND (worst_grade <> 'high' OR flagged IS true)")
    op.create_index(
        "ix_run_records_waiting",
        "run_records",
        ["run_id"],
        unique=False,
        postgresql_where=waiting,
        sqlite_where=waiting,
    )
    op.create_table(
        "corrections",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("target", sa.String(8), nullable=True),
        sa.Column("call", sa.String(16), nullable=True),
        sa.Column("machine_call", sa.String(16), nullable=True),
        sa.Column("reason_code", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_corrections_run_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_corrections_user_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_corrections")),
        sa.UniqueConstraint("run_id", "revision", "target", name=op.f("uq_corrections_run_id_revision_target")),
    )
    op.create_index("ix_corrections_run_id", "corrections", ["run_id"], unique=False)
    op.create_table(
        "signatures",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("meaning", sa.String(16), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("proved", sa.String(16), nullable=False),
        sa.Column("record_sha256", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_signatures_run_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_signatures_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signatures")),
    )
    op.create_index("ix_signatures_run_id", "signatures", ["run_id"], unique=False)


def _first_site() -> None:
    op.bulk_insert(
        sa.table(
            "sites",
            sa.column("id", sa.String),
            sa.column("title", sa.String),
            sa.column("created_at", sa.DateTime(timezone=True)),
            sa.column("unregistered", sa.String),
            sa.column("four_eyes", sa.Boolean),
            sa.column("revision", sa.Integer),
        ),
        [
            {
                "id": _SITE,
                "title": "Main laboratory",
                "created_at": datetime.now(UTC),
                "unregistered": "register",
                "four_eyes": False,
                "revision": 1,
            }
        ],
    )
    op.execute(f"INSERT INTO audit_tip (one, number, hash) VALUES (1, 0, '{_ZERO}')")


def _who_belongs_to_it() -> None:
    for name in ("devices", "claims"):
        op.add_column(name, sa.Column("site_id", sa.String(64)))
        op.execute(f"UPDATE {name} SET site_id = '{_SITE}'")
        with op.batch_alter_table(name) as table:
            table.alter_column("site_id", existing_type=sa.String(64), nullable=False)
            table.create_foreign_key(op.f(f"fk_{name}_site_id"), "sites", ["site_id"], ["id"])
    new = (
        sa.Column("email", sa.String(254)),
        sa.Column("disabled_at", sa.DateTime(timezone=True)),
        sa.Column("erased_at", sa.DateTime(timezone=True)),
        sa.Column("password_changed_at", sa.DateTime(timezone=True)),
        sa.Column("totp_secret", sa.LargeBinary()),
        sa.Column("totp_confirmed_at", sa.DateTime(timezone=True)),
        sa.Column("totp_last_step", sa.Integer()),
    )
    with op.batch_alter_table("users") as table:
        table.alter_column("password_hash", existing_type=sa.Text(), nullable=True)
        for column in new:
            table.add_column(column)
    op.execute(f"INSERT INTO memberships (user_id, site_id) SELECT id, '{_SITE}' FROM users")


def _register_what_was_read() -> None:
    """Every plate that a run named, as the runs' codes said it; and a record for every run."""
    connection = op.get_bind()
    now = datetime.now(UTC)
    named = sa.text(
        "SELECT DISTINCT submission, test, plate_number FROM runs"
        " WHERE submission IS NOT NULL AND test IS NOT NULL AND plate_number IS NOT NULL"
        " ORDER BY submission, test, plate_number"
    )
    submissions: dict[str, str] = {}
    tests: dict[tuple[str, str], str] = {}
    plates: list[dict[str, Any]] = []
    for row in connection.execute(named):
        submissions.setdefault(row.submission, str(uuid.uuid4()))
        test = tests.setdefault((row.submission, row.test), str(uuid.uuid4()))
        plates.append({"id": str(uuid.uuid4()), "test_id": test, "number": row.plate_number})
    _insert(
        "INSERT INTO submissions (id, site_id, name, revision, created_at, created_by, origin)"
        f" VALUES (:id, '{_SITE}', :name, 1, :at, 'system', 'code')",
        [{"id": key, "name": name, "at": now} for name, key in submissions.items()],
    )
    _insert(
        "INSERT INTO tests (id, submission_id, name, revision) VALUES (:id, :submission_id, :name, 1)",
        [{"id": key, "submission_id": submissions[owner], "name": name} for (owner, name), key in tests.items()],
    )
    _insert(
        "INSERT INTO plates (id, test_id, number, revision, state) VALUES (:id, :test_id, :number, 1, 'read')", plates
    )
    # A row that could not be read has no endpoint; those are looked at again as the queue is worked through.
    op.execute(
        "INSERT INTO run_records (run_id, site_id, plate_id, matched_by, revision, assay_version, worst_grade, flagged)"
        f" SELECT runs.id, '{_SITE}', plates.id, CASE WHEN plates.id IS NULL THEN NULL ELSE 'code' END, 1,"
        "  runs.profile_version, 'low', false"
        " FROM runs"
        f" LEFT JOIN submissions ON submissions.name = runs.submission AND submissions.site_id = '{_SITE}'"
        " LEFT JOIN tests ON tests.submission_id = submissions.id AND tests.name = runs.test"
        " LEFT JOIN plates ON plates.test_id = tests.id AND plates.number = runs.plate_number"
    )


def _insert(statement: str, rows: list[dict[str, Any]]) -> None:
    connection = op.get_bind()
    for at in range(0, len(rows), _BATCH):
        connection.execute(_timed(statement), rows[at : at + _BATCH])


def _timed(statement: str) -> sa.TextClause:
    """The statement, its `:at` a time as the tables keep it: what sqlite3 makes of one by itself is another text."""
    times = [sa.bindparam("at", type_=sa.DateTime(timezone=True))] if ":at," in statement else []
    return sa.text(statement).bindparams(*times)


def _freeze() -> None:
    """Triggers that refuse UPDATE and DELETE, whoever asks."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION wellread_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'rows of % are never changed or deleted', TG_TABLE_NAME USING ERRCODE = '42501';"
            " END $$"
        )
        for name in _FROZEN:
            op.execute(
                f"CREATE TRIGGER frozen_{name} BEFORE UPDATE OR DELETE ON {name}"
                " FOR EACH ROW EXECUTE FUNCTION wellread_refuse()"
            )
            op.execute(
                f"CREATE TRIGGER kept_{name} BEFORE TRUNCATE ON {name}"
                " FOR EACH STATEMENT EXECUTE FUNCTION wellread_refuse()"
            )
        return
    for name in _FROZEN:
        for what in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER frozen_{name}_{what.lower()} BEFORE {what} ON {name}"
                f" BEGIN SELECT RAISE(ABORT, 'rows of {name} are never changed or deleted'); END"
            )


def _thaw() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for name in _FROZEN:
            op.execute(f"DROP TRIGGER frozen_{name} ON {name}")
            op.execute(f"DROP TRIGGER kept_{name} ON {name}")
        op.execute("DROP FUNCTION wellread_refuse()")
        return
    for name in _FROZEN:
        for what in ("update", "delete"):
            op.execute(f"DROP TRIGGER frozen_{name}_{what}")


def downgrade() -> None:
    """Back to one laboratory without records; people without a password, and what was reviewed, are lost."""
    _thaw()
    for name in ("signatures", "corrections", "run_records"):
        op.drop_table(name)
    for name in ("profiles", "placements", "control_sera", "sera", "plates", "tests", "submissions"):
        op.drop_table(name)
    for name in ("audit_heads", "audit_tip", "audit_entries"):
        op.drop_table(name)
    for name in ("alarms", "comments", "api_keys", "identities", "invitations", "refresh_tokens", "sessions"):
        op.drop_table(name)
    op.drop_table("memberships")
    op.execute("UPDATE users SET password_hash = '' WHERE password_hash IS NULL")
    op.execute("UPDATE users SET role = 'viewer' WHERE role <> 'admin'")
    with op.batch_alter_table("users") as table:
        table.alter_column("password_hash", existing_type=sa.Text(), nullable=False)
        for name in (
            "totp_last_step", "totp_confirmed_at", "totp_secret", "password_changed_at", "erased_at", "disabled_at",
            "email",
        ):  # fmt: skip
            table.drop_column(name)
    for name in ("claims", "devices"):
        with op.batch_alter_table(name) as table:
            table.drop_constraint(op.f(f"fk_{name}_site_id"), type_="foreignkey")
            table.drop_column("site_id")
    op.drop_table("sites")

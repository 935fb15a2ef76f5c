"""SQLAlchemy Core tables, the same on SQLite and PostgreSQL; migrations are compared with them in a test.

`columns` what they are made of; `intake` runs and what came with them; `fleet` readers; `people` sites, users,
sessions, keys, comments, alarms; `laboratory` submissions to sera, records of runs, corrections, signatures; `audit`
the chain of changes; `deliveries` files on their way to laboratory systems; `requests` what was answered to those that
may be sent twice.
"""

from central.tables.audit import audit_entries, audit_heads, audit_tip
from central.tables.columns import BigId, Json, UtcDateTime, metadata
from central.tables.deliveries import changes, changes_tip, deliveries, delivery_log, delivery_rules, withdrawals
from central.tables.fleet import claims, devices
from central.tables.intake import boots, dead_letters, images, imports, other_places, runs, stretches
from central.tables.laboratory import (
    control_sera,
    corrections,
    placements,
    plates,
    profiles,
    run_records,
    sera,
    signatures,
    submissions,
    tests,
)
from central.tables.notices import (
    figures_tip,
    notice_letters,
    notice_rules,
    notice_silences,
    notice_turn,
    notices,
    run_figures,
)
from central.tables.people import (
    alarms,
    api_keys,
    comments,
    identities,
    invitations,
    memberships,
    refresh_tokens,
    sessions,
    sites,
    used_states,
    users,
)
from central.tables.requests import answers

__all__ = [
    "BigId",
    "Json",
    "UtcDateTime",
    "alarms",
    "answers",
    "api_keys",
    "audit_entries",
    "audit_heads",
    "audit_tip",
    "boots",
    "changes",
    "changes_tip",
    "claims",
    "comments",
    "control_sera",
    "corrections",
    "dead_letters",
    "deliveries",
    "delivery_log",
    "delivery_rules",
    "devices",
    "figures_tip",
    "identities",
    "images",
    "imports",
    "invitations",
    "memberships",
    "metadata",
    "notice_letters",
    "notice_rules",
    "notice_silences",
    "notice_turn",
    "notices",
    "other_places",
    "placements",
    "plates",
    "profiles",
    "refresh_tokens",
    "run_figures",
    "run_records",
    "runs",
    "sera",
    "sessions",
    "signatures",
    "sites",
    "stretches",
    "submissions",
    "tests",
    "used_states",
    "users",
    "withdrawals",
]

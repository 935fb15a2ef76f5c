"""Laboratories, the people who work in them, and the machines that fetch results.

No name of a person is anywhere but in `users`: everything else, the audit trail too, says the person's id. So a person
can be forgotten, and every record still says that it was one and the same.
"""

from typing import Final

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text

from central.tables.columns import BigId, Json, UtcDateTime, metadata

# A laboratory: what belongs to one is not seen by another.
sites: Final = Table(
    "sites",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("title", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # What becomes of a plate code that nobody registered: "register" it as it stands, or let its run "wait".
    Column("unregistered", String(16), nullable=False),
    Column("four_eyes", Boolean, nullable=False),  # who reviewed may not approve
    Column("picture_days", Integer),  # a picture goes so long after it came; null: never
    Column("revision", Integer, nullable=False),
)

users: Final = Table(
    "users",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("email", String(254)),
    Column("password_hash", Text),  # null: invited and not here yet, or signed in elsewhere
    Column("role", String(16), nullable=False),  # admin | reviewer | operator | viewer
    Column("created_at", UtcDateTime, nullable=False),
    Column("signed_out_at", UtcDateTime),  # tokens issued before this are refused
    Column("disabled_at", UtcDateTime),
    Column("erased_at", UtcDateTime),  # the name is a pseudonym since then
    Column("password_changed_at", UtcDateTime),
    Column("totp_secret", LargeBinary),  # sealed with a key that is not in the database
    Column("totp_confirmed_at", UtcDateTime),
    Column("totp_last_step", Integer),  # a code is good once
)

memberships: Final = Table(
    "memberships",
    metadata,
    Column("user_id", String(36), ForeignKey("users.id"), primary_key=True),
    Column("site_id", String(64), ForeignKey("sites.id"), primary_key=True),
)

# Where a person is signed in: a browser, or a program with a refresh token.
sessions: Final = Table(
    "sessions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("user_id", String(36), ForeignKey("users.id"), nullable=False, index=True),
    Column("kind", String(8), nullable=False),  # pages | api
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("address", String(64), nullable=False),
    Column("agent", String(200), nullable=False),  # what the program called itself
    Column("proved", String(16), nullable=False),  # password | password+totp | oidc | oidc+totp
    Column("ended_at", UtcDateTime),
    Column("ended_why", String(32)),  # signed_out | revoked | reused | password_changed | disabled | expired
)

# A chain per session; a token that was used already ends it, but for one honest retry.
refresh_tokens: Final = Table(
    "refresh_tokens",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    Column("session_id", String(36), ForeignKey("sessions.id"), nullable=False, index=True),
    Column("issued_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
    Column("successor_sha256", String(64)),
    Column("retried_at", UtcDateTime),
)

# One-time links: to join, or to set a new password. Only the hash is kept.
invitations: Final = Table(
    "invitations",
    metadata,
    Column("code_sha256", String(64), primary_key=True),
    Column("kind", String(8), nullable=False),  # invite | reset
    Column("user_id", String(36), ForeignKey("users.id"), nullable=False, index=True),
    Column("created_by", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
)

# Who a person is at an OpenID Connect provider; one there for one here.
identities: Final = Table(
    "identities",
    metadata,
    Column("issuer", String(200), primary_key=True),
    Column("subject", String(200), primary_key=True),
    Column("user_id", String(36), ForeignKey("users.id"), nullable=False, index=True),
    Column("linked_at", UtcDateTime, nullable=False),
    Index("ix_identities_issuer_user_id", "issuer", "user_id", unique=True),
)

# Answers of a provider that were taken: none is taken twice. Kept until it would be too old anyway.
used_states: Final = Table(
    "used_states",
    metadata,
    Column("state_sha256", String(64), primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False),
)

# A machine's key, `wr_<id>_<secret>`: the id finds it, the secret's hash proves it.
api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("secret_sha256", String(64), nullable=False),
    Column("title", String(200), nullable=False),
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False),
    Column("scopes", Json, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
)

# What people are told of a thing, and what they say about it.
comments: Final = Table(
    "comments",
    metadata,
    Column("number", BigId, primary_key=True, autoincrement=True),
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False),
    Column("object_kind", String(16), nullable=False),  # submission | test | plate | run
    Column("object_id", String(36), nullable=False, index=True),
    Column("at", UtcDateTime, nullable=False),
    Column("user_id", String(36), ForeignKey("users.id"), nullable=False),
    Column("text", Text, nullable=False),
)

# Something that a person should look at; raised once for an object until it is resolved.
alarms: Final = Table(
    "alarms",
    metadata,
    Column("number", BigId, primary_key=True, autoincrement=True),
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("object_kind", String(16), nullable=False),
    Column("object_id", String(64), nullable=False),
    Column("detail", Text, nullable=False),
    Column("raised_at", UtcDateTime, nullable=False),
    Column("acknowledged_at", UtcDateTime),
    Column("acknowledged_by", String(64)),
    Column("resolved_at", UtcDateTime),
)

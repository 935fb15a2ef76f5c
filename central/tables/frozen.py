"""Tables whose rows are never changed or deleted, and the triggers that refuse it whoever asks.

Only a restore takes them off, for as long as it empties the tables; the migrations put them on.
"""

from typing import Final

from sqlalchemy import Connection, text

FROZEN: Final = ("runs", "corrections", "signatures", "audit_entries", "audit_heads")

_FUNCTION: Final = (
    "CREATE OR REPLACE FUNCTION wellread_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " RAISE EXCEPTION 'rows of % are never changed or deleted', TG_TABLE_NAME USING ERRCODE = '42501';"
    " END $$"
)


def freeze(connection: Connection) -> None:
    """Refuse UPDATE, DELETE and TRUNCATE from now on."""
    statements = [_FUNCTION] if connection.dialect.name == "postgresql" else []
    for name in FROZEN:
        if connection.dialect.name == "postgresql":
            refuse = "EXECUTE FUNCTION wellread_refuse()"
            statements += [
                f"CREATE TRIGGER frozen_{name} BEFORE UPDATE OR DELETE ON {name} FOR EACH ROW {refuse}",
                f"CREATE TRIGGER kept_{name} BEFORE TRUNCATE ON {name} FOR EACH STATEMENT {refuse}",
            ]
        else:
            refuse = f"BEGIN SELECT RAISE(ABORT, 'rows of {name} are never changed or deleted'); END"
            statements += [
                f"CREATE TRIGGER frozen_{name}_{what.lower()} BEFORE {what} ON {name} {refuse}"
                for what in ("UPDATE", "DELETE")
            ]
    for statement in statements:
        connection.execute(text(statement))


def thaw(connection: Connection) -> None:
    """Take the triggers off."""
    for name in FROZEN:
        if connection.dialect.name == "postgresql":
            names = [f"frozen_{name} ON {name}", f"kept_{name} ON {name}"]
        else:
            names = [f"frozen_{name}_update", f"frozen_{name}_delete"]
        for trigger in names:
            connection.execute(text(f"DROP TRIGGER {trigger}"))

"""Alembic's entry: runs the steps on the connection that `db.migrate` opened, inside its transaction."""

from alembic import context

from central.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by rebuilding it
    compare_type=True,
    transactional_ddl=True,
)
context.run_migrations()

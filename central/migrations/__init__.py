"""Alembic migrations: one step per release that changes the tables; a test compares their end with `tables.py`."""

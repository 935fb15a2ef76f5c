"""Trained artefacts and how they were made; not ORM classes."""

"""The server: ingest, runs, summaries, people, files."""

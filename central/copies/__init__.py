"""Backups of a running central and their way back: `backup`, and `command` for the command line."""

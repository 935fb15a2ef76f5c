"""What this reader has read and central may not have yet, kept through everything that can happen to a disk.

In reading order: `outbox` (put, due, send, settle, prune: the verbs) · `keeping` (makes a reading's row) · `rows` (what
is handed out, and what is checked first), `packing` (a reading's bytes) · `file`, `tables` (the SQLite file, its
settings and its tables), `salvage` (what is brought out of a damaged one) · `steps` (every change of where a reading
stands), `accounts` (compared with central's) · `retention` (what may be forgotten: pure), `pruning` (forgets it) ·
`room`, `backlog` (how full it is, and what a person is shown of it) · `archive` (carried by hand), `requests` (what a
person asks of it beside a running agent), `look` (read-only).
"""

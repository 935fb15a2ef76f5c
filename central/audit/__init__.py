"""The trail of every change, in reading order.

`chain` writes an entry in the transaction that changes: who changes anything calls `record` last, as it holds the lock
that keeps the entries in line. `queries` looks into it; `verify` (pure) finds what was done behind it, `check` hands it
the rows of a database or a backup; `heads` signs its end; `export` and `writing` make files of it; `start` is what
central says when it starts; `command` the command line.
"""

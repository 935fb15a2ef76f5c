"""The trail of every change: `chain` writes an entry in the transaction that changes, and can tell a broken chain.

Who changes anything calls `record` last in his transaction: it holds the lock that keeps the entries in line.
"""

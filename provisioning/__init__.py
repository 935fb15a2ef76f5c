"""From a blank machine to a running reader or central: set-up scripts, example files, and the demo.

`demo.py` starts the other programs as processes and talks to them as their users do; it imports nothing of theirs.
"""

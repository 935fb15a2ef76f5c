"""The line to central: who this reader is to it, what is said, and what carries it.

In reading order: `enrol` (how a reader becomes a device), `signing` (its key) · `window` (which readings to send now)
and `conversation` (what is said and heard; both pure) · `sync` (over MQTT) · `uploads` (pictures, over HTTP).
"""

"""What a device and central agree on: pure, standard library + msgspec + zstandard.

No file, socket, clock or randomness in here. In reading order:

- `plate`     wells, formats, ANSI/SLAS geometry, seats
- `assay`     an assay profile as data; `profiles` ships two
- `endpoint`  well calls → row endpoints, grades, flags, distribution
- `messages`  what travels; `codec` message ↔ bytes; `topics` where it travels
- `delivery`  the state table of a reading between outbox and central
- `errors`    whose fault it is
"""

"""What a device and central agree on: pure, standard library + msgspec + zstandard + cryptography.

No file, socket, clock or randomness in here. In reading order:

- `plate`     wells, formats, ANSI/SLAS geometry, seats
- `assay`     an assay profile as data; `soundness` checks one, `profiles` ships some
- `endpoint`  well calls → row endpoints, grades, flags, distribution; `evidence` is one well, `mic` the rule for MICs
- `messages`  what travels; `codec` message ↔ bytes; `topics` where it travels
- `delivery`  the state table of a reading between outbox and central; `ledger` compares what both sides hold
- `archive`   readings carried by hand, signed; `sealing` closes them under a passphrase
- `errors`    whose fault it is
- `page`, `asyncapi`  all of it for people and for machines: docs/protocol.md, docs/asyncapi.json
"""

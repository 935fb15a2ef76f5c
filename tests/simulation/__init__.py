"""The whole delivery in virtual time: many readers, bad brokers and centrals that crash, all from one seed.

`world` is time and chance; `oracle` stands outside and knows what was promised. `card`, `frail` and `reader` are a
bench with the agent's own conversation; `broker` carries badly; `table` and `laboratory` are central around its own
plan and decision; `faults` happen to them. `run` draws a life from a seed, plays, heals and judges it; `many` plays
many. `real` and `real_table` put the real outbox and the real ingest beside the models.
"""

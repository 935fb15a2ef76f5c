"""The whole delivery in virtual time: many readers, bad brokers and centrals that crash, all from one seed.

`world` is time and chance; `oracle` stands outside and knows what was promised; `card` and `reader` are a bench, with
the agent's own conversation; `broker` carries badly; `laboratory` is central around its own plan and decision; `faults`
happen to them; `schedule` draws a life from a seed and `run` plays it. `real` puts the real outbox and the real ingest
in place of the models. `python -m tests.simulation --help`.
"""

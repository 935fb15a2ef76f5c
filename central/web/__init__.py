"""What every request and answer has to do with, whatever it asks for.

`limits` how many a caller may send; `idempotency` those that may be sent twice; `revisions` changes by who saw what is
there; `etags` what is not sent again; `problems` refusals; `headers` safety; `docs` the description of the API, with
`examples` (pure) of everything.
"""

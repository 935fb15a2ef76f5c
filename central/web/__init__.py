"""What every answer has: `headers` for safety, `problems` for refusals, `docs` the description of the API."""

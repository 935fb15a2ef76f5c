"""Bytes → a run, once per reading, in batches; what cannot become one is kept as a dead letter and answered."""

import msgspec


class NewRun(msgspec.Struct, frozen=True):
    """A run that was just committed."""

    number: int
    id: str
    device_id: str
    submission: str | None
    test: str | None

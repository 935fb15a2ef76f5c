"""Who may approve a run, and what a signature is over. Pure.

A run is approved by a person who proves again who he is, never by itself. The signature binds him to the run exactly as
he saw it: any change afterwards makes another revision, for which nobody has signed yet.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from central.assays.controls import Validity
from central.laboratory.states import PlateEvent, PlateState, StateError, after
from central.results.aggregate import Run
from central.review.corrections import Correction, Effective
from protocol.endpoint import RowEndpoint

Meaning = Literal["reviewed", "approved"]


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """Who stood for a run, as it was at `revision`."""

    id: str
    revision: int
    meaning: Meaning
    user_id: str
    at: datetime
    proved: str
    record_sha256: str


class _Record(msgspec.Struct, frozen=True):
    """Everything that a signature is over."""

    run_id: str
    digest: str
    revision: int
    corrections: tuple[Correction, ...]
    endpoints: dict[str, RowEndpoint]
    not_reportable: tuple[str, ...]
    profile: str
    assay_version: int


def record_sha256(run: Run, digest: str, revision: int, corrections: Sequence[Correction], now: Effective) -> str:
    """SHA-256 of a run as it stands at a revision, in canonical JSON; `digest` is that of its reading."""
    record = _Record(
        run.id,
        digest,
        revision,
        tuple(sorted(corrections, key=lambda each: each.number)),
        now.endpoints,
        now.not_reportable,
        run.profile,
        run.assay.version,
    )
    return hashlib.sha256(msgspec.json.encode(record, order="deterministic")).hexdigest()


def signature_holds(signature: Signature, revision: int, sha256: str) -> bool:
    """Whether a signature is of the run as it stands: at this revision, with this digest."""
    return signature.revision == revision and signature.record_sha256 == sha256


def why_not(
    run: Run,
    state: PlateState | None,
    now: Effective,
    validity: Validity,
    *,
    approver_id: str,
    reviewers: Iterable[str],
    four_eyes: bool,
) -> tuple[str, ...]:
    """What stands against this person's approval of a run, in words; nothing where it may be approved.

    `reviewers` are those who corrected or accepted anything of it.
    """
    found = list(_of_plate(run, state))
    found += in_words(validity)
    if now.open_rows:
        rows = ", ".join(now.open_rows)
        found.append(
            f"nobody has accepted row{'s' if len(now.open_rows) > 1 else ''} {rows}, which should be looked at"
        )
    elif not now.settled:
        found.append("nobody has accepted the run, which has no endpoints")
    if now.reread:
        found.append("a new reading of the plate was asked for")
    if four_eyes and approver_id in set(reviewers):
        found.append("who reviewed a run may not approve it here (four-eyes)")
    return tuple(found)


def in_words(validity: Validity) -> tuple[str, ...]:
    """The controls that failed: which, where, what was found and what is expected."""
    return tuple(
        f"{check.control} ({check.where}): {check.found}, expected {check.expected}" for check in validity.failed
    )


def _of_plate(run: Run, state: PlateState | None) -> Iterable[str]:
    if run.voided:
        yield "the run is void"
    elif run.plate_id is None or state is None:
        yield "nobody knows which plate it is of"
    elif not run.current:
        yield "another reading speaks for its plate"
    else:
        try:
            after(state, PlateEvent.APPROVE)
        except StateError as error:
            yield str(error)

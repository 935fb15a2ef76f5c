"""Whether the trail is what was written: every entry follows from the one before, and the signed heads agree.

Whoever changes rows behind the triggers breaks a link, unless he makes every later hash anew; then the newest head
that was signed before tells. A head by its number also tells how long the trail was, so that its end cannot be cut off.
Only entries younger than the newest head can be made anew without a trace: that is why heads are signed every hour.

Pure: rows, tip and heads come in, a `Report` goes out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from central.audit.chain import BEFORE_THE_FIRST, hash_of

RESTORE: Final = "central.restore"
# After so many findings the first ones are what counts.
MOST_FINDINGS: Final = 100

_ACTION: Final = 6
_TEXTS: Final = frozenset({str, type(None)})


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Entry `number` was the last one and had this hash, says the key; key and signature are hexadecimal."""

    number: int
    hash: str
    signed_at: datetime
    public_key: str
    signature: str

    @property
    def signed(self) -> bytes:
        """What the signature is over."""
        at = self.signed_at.astimezone(UTC).isoformat(timespec="microseconds")
        return msgspec.json.encode(["wellread audit head", self.number, self.hash, at])

    def holds(self) -> bool:
        """Whether the signature is of the key that it names."""
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public_key))
            key.verify(bytes.fromhex(self.signature), self.signed)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Tip:
    """Where the next entry will be linked to."""

    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and at which entry it begins."""

    number: int
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. `notes` explain what is in order: restores, and heads of other keys."""

    entries: int
    last: Tip
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    heads: int
    newest_head: Head | None

    @property
    def intact(self) -> bool:
        """Nothing is wrong."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class _Restore:
    """A backup was put back as this entry says: what there was until `cut` is gone, and known to be."""

    number: int
    at: datetime
    cut: Tip


@dataclass(slots=True)
class _State:
    entries: int = 0
    number: int = 0
    hash: str = BEFORE_THE_FIRST
    findings: list[Finding] = field(default_factory=list)
    restores: list[_Restore] = field(default_factory=list)
    hashes: dict[int, str] = field(default_factory=dict)  # of the entries that a head names


def verify(
    rows: Iterable[Sequence[Any]], tip: Tip | None, heads: Sequence[Head], public_key: str | None = None
) -> Report:
    """Check rows in the order of their numbers; each holds the values of `chain.COLUMNS`, as a database gave them.

    `public_key`: heads of this key alone prove anything; others are compared all the same.
    """
    check = Verifier(heads, public_key)
    for row in rows:
        check.take(row)
    return check.report(tip)


class Verifier:
    """The same, a row at a time: for rows that come out of a stream."""

    def __init__(self, heads: Sequence[Head], public_key: str | None = None) -> None:
        """Heads whose signature does not hold are findings already."""
        self._state = _State()
        self._heads = [head for head in heads if head.holds()]
        self._public_key = public_key
        self._named = {head.number for head in self._heads}
        for head in heads:
            if head not in self._heads:
                self._find(head.number, f"the head of {_moment(head.signed_at)} is forged: its signature does not hold")

    def take(self, row: Sequence[Any]) -> None:
        """The next row."""
        state = self._state
        state.entries += 1
        number, at, previous, written = row[0], row[1], row[13], row[14]
        expected = state.number + 1
        if type(number) is not int:
            self._find(expected, f"a row has the number {number!r} (expected {expected})")
            return
        if number != expected:
            self._find(*_gap(expected, number))
        if type(at) is not datetime or at.tzinfo is None or not _TEXTS.issuperset(map(type, row[2:])):
            self._find(number, "the entry holds what central never writes (a time, or a text, is none)")
        else:
            self._check(row, number, previous, written)
            if row[_ACTION] == RESTORE:
                self._restored(row)
        state.number, state.hash = number, written
        if number in self._named:
            state.hashes[number] = written

    def _check(self, row: Sequence[Any], number: int, previous: str, written: str) -> None:
        try:
            found = hash_of(row)
        except UnicodeEncodeError:
            found = ""
        if found != written:
            self._find(number, "the entry is not what was written: its hash does not fit")
        if previous != self._state.hash:
            self._find(number, "the entry does not follow the one before it: it was linked to another")

    def _restored(self, row: Sequence[Any]) -> None:
        try:
            cut = msgspec.json.decode(row[9] or "null", type=Tip)
        except msgspec.DecodeError:
            return  # a restore into an empty central cut nothing off
        self._state.restores.append(_Restore(row[0], row[1], cut))

    def report(self, tip: Tip | None) -> Report:
        """What there is to say, once every row was taken; `tip` is None where there is no such row."""
        state = self._state
        if tip is None:
            self._find(state.number, "nothing says where the trail ends (audit_tip is empty)")
        elif tip.number > state.number:
            self._find(state.number + 1, f"the end is cut off: {tip.number} entries were written")
        elif tip != Tip(state.number, state.hash):
            self._find(tip.number, f"the trail goes on after its tip, entry {tip.number}, or the tip has another hash")
        notes = [note for head in self._heads if (note := self._against(head)) is not None]
        ours = [head for head in self._heads if self._public_key in (None, head.public_key)]
        if self._public_key is not None and not ours:
            self._find(0, f"no head is signed with the key {self._public_key}")
        if len(ours) < len(self._heads):
            notes.append(f"{len(self._heads) - len(ours)} heads are signed with other keys: they prove nothing")
        newest = max(ours, key=lambda head: head.signed_at, default=None)
        findings = tuple(sorted(state.findings, key=lambda finding: finding.number)[:MOST_FINDINGS])
        notes = list(dict.fromkeys(notes))
        return Report(state.entries, Tip(state.number, state.hash), findings, tuple(notes), len(ours), newest)

    def _against(self, head: Head) -> str | None:
        """Compare one head with the trail; a note where a restore explains the difference."""
        found = self._state.hashes.get(head.number)
        if found == head.hash:
            return None
        for restore in self._state.restores:
            cut_off = restore.number <= head.number <= restore.cut.number and head.signed_at <= restore.at
            if cut_off:
                until = f"{restore.number} to {restore.cut.number}"
                return f"the restore of {_moment(restore.at)}, entry {restore.number}, cut off the entries {until}"
        signed = f"the head of {_moment(head.signed_at)}"
        if head.number > self._state.number:
            self._find(self._state.number + 1, f"the end is cut off: {signed} says that {head.number} were written")
        else:
            self._find(head.number, f"the trail was made anew up to here or further: {signed} says another hash")
        return None

    def _find(self, number: int, what: str) -> None:
        if len(self._state.findings) < 10 * MOST_FINDINGS:
            self._state.findings.append(Finding(number, what))


def _gap(expected: int, number: int) -> tuple[int, str]:
    if number < expected:
        return number, f"entry {number} is there twice, or after entry {expected - 1}"
    missing = f"entry {expected} is" if number == expected + 1 else f"entries {expected} to {number - 1} are"
    return expected, f"{missing} missing"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

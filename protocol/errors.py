"""Whose fault it is: ours (`LocalProtocolError`) or theirs (`RemoteProtocolError`).

A remote error carries a `code` from `REJECTION_CODES`; central sends it back in its ack, and the device shows it.
"""

from typing import Final, Literal

RejectionCode = Literal[
    "undecodable", "unsupported_version", "too_large", "wrong_device", "digest_mismatch", "conflict", "unknown_profile"
]

REJECTION_CODES: Final[dict[RejectionCode, str]] = {
    "undecodable": "the bytes are not a message of this protocol",
    "unsupported_version": "the message's version is not one of the two that central reads",
    "too_large": "the message is larger than the protocol allows",
    "wrong_device": "the message names another device than the topic it came on",
    "digest_mismatch": "the reading's bytes do not have the digest sent with them",
    "conflict": "central already holds other content under this id or sequence number",
    "unknown_profile": "central does not have the assay profile that the reading names",
}


class ProtocolError(ValueError):
    """Something does not fit the protocol; use one of the two below."""


class LocalProtocolError(ProtocolError):
    """Our own side asked for something that the protocol forbids: a bug here."""


class RemoteProtocolError(ProtocolError):
    """The other side sent something that cannot be accepted; keep the bytes, answer `code`, go on."""

    def __init__(self, code: RejectionCode, detail: str) -> None:
        """`code` says which rule was broken; `detail` names the value and the expectation."""
        super().__init__(f"{code}: {detail}")
        self.code: RejectionCode = code
        self.detail = detail

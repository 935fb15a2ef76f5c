"""How a reader becomes a device: its id, made once; a one-time claim code for access; what it was given, mode 0600.

The agent reads and keeps before any of this; once the enrolment file is there, it starts to send.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import msgspec

from edge_agent import AGENT_VERSION
from edge_agent.durable import make_folder, write_durably
from edge_agent.link.signing import public_key, signing_key
from protocol.codec import as_json
from protocol.messages import DeviceId, Enrolment, EnrolmentRequest

# RFC 4648 §6, lower case: no 0, 1, 8 or 9 to be mistaken when someone reads a device's name aloud.
DEVICE_ID_FILE: Final = "device_id"
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"


class EnrolmentError(Exception):
    """Central did not enrol this reader; the message is for the person who asked."""


@dataclass(frozen=True)
class Access:
    """What an enrolled device may use, and where. Its repr shows no secret."""

    central_url: str
    enrolment: Enrolment

    def __repr__(self) -> str:
        """The device and the address only."""
        return f"Access(central_url={self.central_url!r}, device_id={self.enrolment.device_id!r})"


class _Address(msgspec.Struct):
    central_url: str = ""


def device_id(state_dir: Path, random_bytes: Callable[[int], bytes]) -> str:
    """This reader's id, made at its first start and kept for ever."""
    path = state_dir / DEVICE_ID_FILE
    if path.is_file():
        text = path.read_text(encoding="ascii").strip()
    else:
        text = "reader-" + "".join(_ALPHABET[byte % 32] for byte in random_bytes(10))
        make_folder(state_dir)
        write_durably(path, text.encode() + b"\n")
    try:
        return msgspec.convert(text, DeviceId)
    except msgspec.ValidationError as error:
        raise EnrolmentError(f"{path} holds {text!r} (expected a device id: a-z, 0-9 and -)") from error


def load_access(state_dir: Path, central_url: str = "") -> Access | None:
    """What the last enrolment gave; None if there was none. `central_url` from the configuration wins."""
    try:
        document = enrolment_file(state_dir).read_bytes()
    except FileNotFoundError:
        return None
    try:
        enrolment = msgspec.json.decode(document, type=Enrolment)
        address = msgspec.json.decode(document, type=_Address).central_url
    except msgspec.DecodeError as error:
        # The error's text names fields and types, never values.
        raise EnrolmentError(f"{enrolment_file(state_dir)} is not an enrolment: {error} (enrol again)") from None
    return Access(central_url or address, enrolment)


def enrol(central_url: str, claim_code: str, state_dir: Path, own_id: str, client: httpx.Client) -> Access:
    """Exchange a claim code for access and keep it; EnrolmentError with central's own words."""
    url = f"{central_url.rstrip('/')}/api/v1/enrolments"
    key = public_key(signing_key(state_dir))
    request = EnrolmentRequest(claim_code.strip(), own_id, AGENT_VERSION, key)
    try:
        response = client.post(url, content=as_json(request), headers={"Content-Type": "application/json"})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EnrolmentError(f"cannot reach central at {url}: {error}") from error
    if response.status_code != httpx.codes.CREATED:
        raise EnrolmentError(f"central refused the claim code: {problem(response)}")
    try:
        enrolment = msgspec.json.decode(response.content, type=Enrolment)
    except msgspec.DecodeError as error:
        raise EnrolmentError(f"central's answer is not an enrolment: {error}") from None
    if enrolment.device_id != own_id:
        raise EnrolmentError(f"central enrolled {enrolment.device_id!r} (expected this reader, {own_id!r})")
    kept = msgspec.to_builtins(enrolment) | {"central_url": central_url.rstrip("/")}
    make_folder(state_dir)
    write_durably(enrolment_file(state_dir), json.dumps(kept, indent=2).encode() + b"\n", mode=0o600)
    return Access(central_url.rstrip("/"), enrolment)


def enrolment_file(state_dir: Path) -> Path:
    """Where access is kept."""
    return state_dir / "enrolment.json"


def problem(response: httpx.Response) -> str:
    """The `detail` of a problem document (RFC 9457), or the status line."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.reason_phrase
    return f"{detail} (HTTP {response.status_code})"

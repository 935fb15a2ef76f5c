"""Where a rule sends files, as data: checked when the rule is made, turned into a target when a file is due.

A folder lies below one of the folders that the settings name, so that no rule can write anywhere else on this machine.
Secrets are never among what is stored in plain text and never shown again.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from obstore.store import S3Store

from central.deliveries.targets.addresses import Network
from central.deliveries.targets.email import Email
from central.deliveries.targets.folder import Folder
from central.deliveries.targets.s3 import S3
from central.deliveries.targets.sftp import Sftp
from central.deliveries.targets.target import Target, TargetError
from central.deliveries.targets.webhook import Webhook, parse_secret
from central.mail import Mailer

if TYPE_CHECKING:
    from obstore.store import S3Config

Kind = Literal["folder", "sftp", "webhook", "s3", "email"]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
_Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$(?!\n)")]


class FolderPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A drop folder by its path, below one of the folders that the settings name."""

    path: _Text


class SftpPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A folder on another machine; `host_key` like `ssh-ed25519 AAAA…`. The secret: a password or a private key."""

    host: _Text
    username: _Text
    folder: _Text
    host_key: Annotated[str, msgspec.Meta(min_length=20, max_length=2000)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 22


class WebhookPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An https address. The secret: `whsec_` and base64, as Standard Webhooks has it."""

    url: _Text


class S3Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bucket. The secret: the key that belongs to `access_key_id`."""

    bucket: _Name
    region: _Name
    access_key_id: _Text
    endpoint: str | None = None
    prefix: Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[A-Za-z0-9._/-]*$(?!\n)")] = ""


class EmailPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Up to twenty addresses, with commas between them, in domains that the settings name."""

    to: Annotated[str, msgspec.Meta(min_length=3, max_length=2000)]


PLACES: Final[dict[Kind, type[Any]]] = {
    "folder": FolderPlace,
    "sftp": SftpPlace,
    "webhook": WebhookPlace,
    "s3": S3Place,
    "email": EmailPlace,
}
SECRET_NEEDED: Final = frozenset({"sftp", "webhook", "s3"})
_MOST_ADDRESSES: Final = 20
_ADDRESS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@((?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,63})")
# A host with perhaps a port and a path: nothing in it that two readers could take for another host.
_ENDPOINT: Final = re.compile(
    r"https://(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[1-9][0-9]{0,3}|:[1-5][0-9]{4}|:6[0-4][0-9]{3})?(?:/[A-Za-z0-9._/-]{0,200})?"
)
_DOMAIN: Final = re.compile(r"(?:[a-z0-9-]{1,63}\.)+[a-z]{2,63}")


class PlaceError(ValueError):
    """A place that files cannot be sent to: what was found, and what is expected."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What rules may reach: folders on this machine, networks inside, and people by e-mail."""

    roots: tuple[Path, ...]
    networks: tuple[Network, ...]
    file_url: Callable[[str], str]
    now: Callable[[], datetime]
    mail_domains: tuple[str, ...] = ()
    mailer: Mailer | None = None


def parse_networks(text: str) -> tuple[Network, ...]:
    """`10.1.0.0/16, fd00::/8`; ValueError names what is none."""
    found = []
    for each in (part.strip() for part in text.split(",")):
        if each:
            try:
                found.append(ipaddress.ip_network(each))
            except ValueError as error:
                raise ValueError(f"not a network: {each!r} (expected one like 10.1.0.0/16)") from error
    return tuple(found)


def parse_domains(text: str) -> tuple[str, ...]:
    """`lab.example, north.example`; ValueError names what is none."""
    found = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    for each in found:
        if not _DOMAIN.fullmatch(each):
            raise ValueError(f"not a domain: {each[:80]!r} (expected one like lab.example)")
    return found


def check_place(kind: Kind, place: Mapping[str, Any], secret: str | None, bounds: Bounds) -> None:
    """Refuse what could not be a place; nothing is tried."""
    if kind in SECRET_NEEDED and not secret:
        raise PlaceError(f"a {kind} without a secret (expected one)")
    try:
        target_of(kind, place, secret, bounds)
    except TargetError as error:
        raise PlaceError(str(error)) from error


def target_of(kind: Kind, place: Mapping[str, Any], secret: str | None, bounds: Bounds) -> Target:
    """The target of a stored place; PlaceError where it is none (any more)."""
    try:
        said = msgspec.convert(place, PLACES[kind])
    except msgspec.ValidationError as error:
        raise PlaceError(f"not a {kind}: {error}") from error
    match said:
        case FolderPlace():
            return Folder(_below(Path(said.path), bounds.roots))
        case SftpPlace():
            key = secret if secret and "PRIVATE KEY" in secret else None
            password = None if key else secret
            return Sftp(said.host, said.port, said.username, said.folder, said.host_key, password, key, bounds.networks)
        case WebhookPlace():
            return _webhook(said, secret, bounds)
        case EmailPlace():
            return _email(said, bounds)
        case _:
            return _bucket(said, secret, bounds)


def _webhook(said: WebhookPlace, secret: str | None, bounds: Bounds) -> Webhook:
    try:
        key = parse_secret(secret or "")
    except ValueError as error:
        raise PlaceError(str(error)) from error
    return Webhook(said.url, key, bounds.file_url, bounds.now, bounds.networks)


def _email(said: EmailPlace, bounds: Bounds) -> Email:
    addresses = tuple(part.strip() for part in said.to.split(",") if part.strip())
    if not 1 <= len(addresses) <= _MOST_ADDRESSES:
        raise PlaceError(f"{len(addresses)} addresses (expected 1 to {_MOST_ADDRESSES})")
    for address in addresses:
        sound = _ADDRESS.fullmatch(address)
        if sound is None:
            raise PlaceError(f"not an address: {address[:80]!r} (expected one like lims@lab.example)")
        if sound[1].lower() not in bounds.mail_domains:
            allowed = ", ".join(bounds.mail_domains) or "none"
            raise PlaceError(f"{address[:80]!r} (expected one in {allowed}: see WELLREAD_DELIVERY_MAIL_DOMAINS)")
    if bounds.mailer is None:
        raise PlaceError("no mail server (expected one: see WELLREAD_SMTP_URL)")
    return Email(bounds.mailer, addresses, bounds.now)


def _bucket(said: S3Place, secret: str | None, bounds: Bounds) -> S3:
    if said.endpoint is not None and not _ENDPOINT.fullmatch(said.endpoint):
        raise PlaceError(f"endpoint {said.endpoint[:200]!r} (expected an https address)")
    config: S3Config = {"region": said.region, "access_key_id": said.access_key_id}
    if secret is not None:
        config["secret_access_key"] = secret
    if said.endpoint is not None:  # the library takes no None for Amazon's own
        config["endpoint"] = said.endpoint
    store = S3Store(
        said.bucket,
        config=config,
        client_options={"timeout": "20s", "connect_timeout": "5s"},
        retry_config={"max_retries": 1},
    )
    return S3(store, said.prefix, said.endpoint, bounds.networks)


def _below(path: Path, roots: tuple[Path, ...]) -> Path:
    """The folder itself, links followed: what it really is lies below a root, or it is refused."""
    real = path.resolve()
    if not path.is_absolute() or not any(real.is_relative_to(root.resolve()) for root in roots):
        listed = ", ".join(str(root) for root in roots) or "none"
        raise PlaceError(f"folder {str(path)[:200]!r} (expected one below {listed}: see WELLREAD_DELIVERY_FOLDERS)")
    return real

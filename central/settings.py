"""Environment → frozen `Settings`, once. Nothing else in central reads the environment."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

PREFIX: Final = "WELLREAD_"

# What examples say where a secret belongs.
SAMPLES: Final = frozenset(
    {"changeme", "change-me", "change_me", "changethis", "change-this", "replaceme", "replace-me", "example", "secret"}
    | {"password", "passwort", "letmein", "wellread", "postgres", "admin", "default", "test", "todo", "xxx", "..."}
)
_SECRET: Final = re.compile(r"password|secret")
_PROVIDER: Final = re.compile(
    r"https://[^/?#@\s]+(/[^?#\s]*)?$|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/[^?#\s]*)?$"
)
_IN_URL: Final = re.compile(r"://[^/@:\s]*:([^@\s]*)@")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How this central runs. Every field is set by `WELLREAD_<FIELD>`; docs/operations.md lists them."""

    data_dir: Path = Path("wellread-data")
    """Folder of the database, pictures, keys and the child broker's files."""

    database_url: str = ""
    """SQLAlchemy URL: `postgresql+asyncpg://…` or `sqlite+aiosqlite:///…`; empty for SQLite in `data_dir`."""

    host: str = "127.0.0.1"
    """Address that the web server listens on."""

    port: int = 8000
    """Port that the web server listens on; 0 for any free one."""

    public_url: str = ""
    """Address by which people and devices reach central; empty for `http://{host}:{port}`."""

    broker_url: str = ""
    """`mqtt://host:port` of a Mosquitto that is already running; empty to run one as a child, on loopback."""

    other_broker_urls: str = ""
    """With `broker_url`: more brokers with the same accounts, `mqtt://…`, separated by commas. Central uses all."""

    broker_port: int = 0
    """Port of the child broker; 0 for any free one, which is then kept in `data_dir`."""

    broker_password_file: str = ""
    """With `broker_url`: the password file of that Mosquitto, which central keeps up to date."""

    broker_password: str = ""
    """With `broker_url`: password of the broker user `central`."""

    allow_plaintext: bool = False
    """Speak without TLS to a broker or a database on another machine: for a line that is protected otherwise."""

    trusted_proxies: str = ""
    """Addresses or networks of your own proxies, separated by commas: `X-Forwarded-For` is believed from them only."""

    secure_cookies: bool = False
    """Send cookies over HTTPS only; true behind TLS."""

    require_totp: bool = False
    """Reviewers and administrators set up one-time codes before they do anything else."""

    smtp_url: str = ""
    """Mail server for links to join and to set a password: `smtps://name:password@host`; empty to hand links over."""

    mail_from: str = ""
    """With `smtp_url`: the address that letters are from."""

    oidc_issuer: str = ""
    """OpenID Connect provider by which people may sign in, as `https://login.laboratory.example`; empty for none."""

    oidc_client_id: str = ""
    """With `oidc_issuer`: who central is there."""

    oidc_client_secret: str = ""
    """With `oidc_issuer`: central's password there; empty for a public client, which PKCE protects."""

    oidc_client_secret_file: str = ""
    """The file that holds it, instead of `oidc_client_secret`."""

    oidc_title: str = ""
    """With `oidc_issuer`: what the button on the sign-in page calls it; empty for its host name."""

    delivery_folders: str = ""
    """Folders below which delivery rules may put files, separated by commas; empty for `deliveries` in `data_dir`."""

    delivery_networks: str = ""
    """Networks inside that delivery rules may reach, like `10.1.0.0/16`, separated by commas; empty for none."""

    delivery_mail_domains: str = ""
    """Domains that results may be sent to by e-mail, like `lab.example`, separated by commas; empty for none."""

    requests_per_minute: Annotated[int, msgspec.Meta(ge=10)] = 3000
    """Requests a minute of each person, key and device; an address that nobody is known at has a fifth of that."""

    @property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite+aiosqlite:///{(self.data_dir / 'central.db').resolve()}"

    @property
    def other_brokers(self) -> tuple[str, ...]:
        """The URLs of `other_broker_urls`."""
        return tuple(url.strip() for url in self.other_broker_urls.split(",") if url.strip())

    @property
    def delivery_roots(self) -> tuple[Path, ...]:
        """The folders of `delivery_folders`."""
        named = tuple(Path(part.strip()) for part in self.delivery_folders.split(",") if part.strip())
        return named or (self.data_dir / "deliveries",)

    @property
    def images_dir(self) -> Path:
        """Folder of the content-addressed pictures."""
        return self.data_dir / "images"


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from `WELLREAD_…` variables; a ValueError names an unknown key with the nearest known one."""
    source = os.environ if environment is None else environment
    values = {name[len(PREFIX) :].lower(): value for name, value in source.items() if name.startswith(PREFIX)}
    values.pop("plates", None)  # the folder of photographs that the tests use
    values = {name: value for name, value in values.items() if not name.startswith("agent_")}  # a reader's, beside us
    for name in values:
        if name not in Settings.__struct_fields__:
            near = get_close_matches(name, Settings.__struct_fields__, n=1)
            hint = f" (did you mean {PREFIX}{near[0].upper()}?)" if near else ""
            raise ValueError(f"unknown setting: {PREFIX}{name.upper()}{hint}")
    try:
        settings = msgspec.convert(values, Settings, strict=False, dec_hook=lambda kind, value: kind(value))
    except msgspec.ValidationError as error:
        raise ValueError(f"bad setting: {error}") from error
    refuse_samples(settings)
    _check_provider(settings)
    _check_lines(settings)
    return settings


def _check_lines(settings: Settings) -> None:
    """ValueError where central would send passwords and results over a network as anybody can read them."""
    if settings.allow_plaintext:
        return
    wanted = f"or {PREFIX}ALLOW_PLAINTEXT=true where the line is protected otherwise"
    brokers = [("BROKER_URL", settings.broker_url), *(("OTHER_BROKER_URLS", url) for url in settings.other_brokers)]
    for name, url in brokers:
        host = _broker_without_tls(name, url)
        if host and not _is_here(host):
            raise ValueError(f"{PREFIX}{name}: a broker on {host} without TLS (expected mqtts://…, {wanted})")
    for host in _databases_without_tls(settings.database_url):
        if not host.startswith("/") and not _is_here(host):
            where = f"{PREFIX}DATABASE_URL: a database on {host}"
            raise ValueError(f"{where} without TLS (expected ?ssl=verify-full, {wanted})")


def _broker_without_tls(name: str, url: str) -> str | None:
    """The host of an `mqtt://…`; None of anything else."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"{PREFIX}{name}: {error} (expected mqtts://host:port)") from error
    return parts.hostname if parts.scheme == "mqtt" else None


def _databases_without_tls(text: str) -> tuple[str, ...]:
    """The hosts that PostgreSQL's driver is given, where it does not check whom it speaks to; there may be several.

    The address is taken apart by who uses it: a password may hold signs that other parsers end it at.
    """
    if not text:
        return ()
    try:
        url = make_url(text)
        if url.get_backend_name() != "postgresql":
            return ()
        said = url.get_dialect()().create_connect_args(url)[1]
    except (ArgumentError, ImportError, ValueError) as error:
        # Without the value: it holds a password.
        expected = "expected postgresql+asyncpg://user:password@host/name or sqlite+aiosqlite:///file"
        raise ValueError(f"{PREFIX}DATABASE_URL is no address of a database ({expected})") from error
    hosts = said.get("host", "")
    return () if said.get("ssl") == "verify-full" else (hosts,) if isinstance(hosts, str) else tuple(hosts)


def _is_here(host: str | None) -> bool:
    """Whether a host is this very machine."""
    try:
        return host in (None, "", "localhost") or ip_address(str(host)).is_loopback
    except ValueError:
        return False


def _check_provider(settings: Settings) -> None:
    """ValueError where what is said of an OpenID provider does not fit together."""
    issuer = settings.oidc_issuer
    if not issuer:
        return
    if not _PROVIDER.match(issuer):
        raise ValueError(f"{PREFIX}OIDC_ISSUER {issuer[:80]!r} (expected https://…; http:// for this machine only)")
    if not settings.oidc_client_id:
        raise ValueError(f"{PREFIX}OIDC_ISSUER without {PREFIX}OIDC_CLIENT_ID (expected both)")
    if settings.oidc_client_secret_file and not Path(settings.oidc_client_secret_file).is_file():
        raise ValueError(f"{PREFIX}OIDC_CLIENT_SECRET_FILE {settings.oidc_client_secret_file!r} is no file")


def refuse_samples(settings: Settings) -> None:
    """ValueError where a secret is one that stands in somebody's example: everybody knows it."""
    for name in Settings.__struct_fields__:
        value = str(getattr(settings, name))
        secrets = {found[1] for found in _IN_URL.finditer(value)}
        if _SECRET.search(name) and not name.endswith("_file"):
            secrets.add(value)
        if {secret.lower() for secret in secrets} & SAMPLES:
            raise ValueError(f"{PREFIX}{name.upper()} has a secret out of an example (expected one of your own)")

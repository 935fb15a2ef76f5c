"""What central says to a broker or a database on another machine: over TLS, with the certificate checked."""

import asyncio
import ipaddress
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from central.db import DATABASE_ERRORS, make_engine, reading
from central.fleet.broker import parse_broker_url
from central.fleet.broker_child import BrokerError, find_mosquitto
from central.fleet.devices import BrokerAddress
from central.fleet.mosquitto import password_file, password_hash
from central.intake.link import Link, Message
from central.settings import load_settings
from protocol.topics import CENTRAL
from tests.central.waiting import until
from tests.make import NOON

PASSWORD = "of-central-at-the-broker"
ELSEWHERE = "postgresql+asyncpg://wellread:s3cret-9@db.lab/wellread"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BROKER_URL", "mqtt://broker.lab:1883"),
        ("BROKER_URL", "mqtt://10.0.0.9"),
        ("OTHER_BROKER_URLS", "mqtts://one.lab, mqtt://two.lab"),
        ("DATABASE_URL", ELSEWHERE),
        ("DATABASE_URL", f"{ELSEWHERE}?ssl=prefer"),
        ("DATABASE_URL", f"{ELSEWHERE}?ssl=require"),
        ("DATABASE_URL", "postgresql+asyncpg://w:s3cret-9@/wellread?host=db.lab"),
        ("DATABASE_URL", "postgresql+asyncpg://w:s3cret-9@/wellread?host=localhost:5432&host=db.lab:5432"),
        ("DATABASE_URL", "postgresql+asyncpg://w:s3cret-9#@db.lab/wellread"),
    ],
)
def test_a_line_that_anybody_can_read_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"WELLREAD_{name}: a (broker|database) on .* without TLS") as refused:
        load_settings({f"WELLREAD_{name}": value})
    assert "s3cret" not in str(refused.value)
    assert load_settings({f"WELLREAD_{name}": value, "WELLREAD_ALLOW_PLAINTEXT": "true"}).allow_plaintext


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BROKER_URL", "mqtts://broker.lab"),
        ("BROKER_URL", "mqtt://127.0.0.1:1883"),
        ("BROKER_URL", "mqtt://[::1]:1883"),
        ("DATABASE_URL", f"{ELSEWHERE}?ssl=verify-full"),
        ("DATABASE_URL", "postgresql+asyncpg://w:s3cret-9@localhost/wellread"),
        ("DATABASE_URL", "postgresql+asyncpg://w:s3#c/r?et-9@localhost/wellread"),
        ("DATABASE_URL", "postgresql+asyncpg://w:s3#c/r?et-9@db.lab/wellread?ssl=verify-full"),
        ("DATABASE_URL", "postgresql+asyncpg://w:s3cret-9@/wellread?host=localhost:5432&host=127.0.0.1:5433"),
        ("DATABASE_URL", "postgresql+asyncpg://w@/wellread?host=/run/postgresql"),
        ("DATABASE_URL", "sqlite+aiosqlite:////var/lib/wellread/central.db"),
    ],
)
def test_a_line_on_this_machine_or_over_tls_is_taken(name: str, value: str) -> None:
    assert load_settings({f"WELLREAD_{name}": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BROKER_URL", "mqtt://[::1"),
        ("DATABASE_URL", "db.lab s3cret-9"),
        ("DATABASE_URL", "postgresql+nothing://w:s3cret-9@db.lab/wellread"),
        ("DATABASE_URL", "postgresql+asyncpg://w:s3cret-9@db.lab:port/wellread"),
    ],
)
def test_what_is_no_address_is_refused_by_its_setting_and_without_its_password(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"WELLREAD_{name}.*\(expected") as refused:
        load_settings({f"WELLREAD_{name}": value})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "value", ["mqtt://localhost:abc", "mqtts://broker.lab:99999", "mqtt://[::1", "broker.lab:1883"]
)
def test_what_is_no_address_of_a_broker_is_refused_by_name(value: str) -> None:
    with pytest.raises(BrokerError, match=r"^not a broker: .*\(expected mqtt://host:port") as refused:
        parse_broker_url(value)
    assert value in str(refused.value)


def authority(folder: Path, name: str, host: str) -> None:
    """`{name}.crt` and `{name}.key`: a certificate that signs itself, for this host."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} of the laboratory")])
    try:
        subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        subject = x509.DNSName(host)
    made = (
        x509.CertificateBuilder(called, called, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOON - timedelta(days=3650))
        .not_valid_after(NOON + timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([subject]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))


@contextmanager
def broker_over_tls(folder: Path, certificate: str) -> Iterator[int]:
    """A Mosquitto with this certificate; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    (folder / "passwords").write_text(password_file({CENTRAL: password_hash(PASSWORD)}))
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous false", f"password_file {folder / 'passwords'}"]
    lines += [f"certfile {folder / certificate}.crt", f"keyfile {folder / certificate}.key", "user root"]
    (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    words = [str(find_mosquitto()), "-c", str(folder / "mosquitto.conf")]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield port
        finally:
            process.terminate()


def says_hello(port: int) -> bool:
    """Whether it listens yet."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("certificate", "trusted", "comes_in"),
    [("right", "right", True), ("right", "stranger", False), ("misnamed", "misnamed", False)],
)
async def test_central_comes_in_at_a_broker_whose_certificate_holds_and_at_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificate: str, trusted: str, comes_in: bool
) -> None:
    for name, host in (("right", "127.0.0.1"), ("stranger", "127.0.0.1"), ("misnamed", "broker.elsewhere")):
        authority(tmp_path, name, host)
    # Where OpenSSL looks for the host's own list.
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / f"{trusted}.crt"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    messages: asyncio.Queue[Message] = asyncio.Queue()
    with broker_over_tls(tmp_path, certificate) as port:
        await until(lambda: says_hello(port), "the broker")
        link = Link(BrokerAddress("127.0.0.1", port, tls=True), PASSWORD, messages, "test", lambda: NOON)
        failed: list[object] = []
        link._client.on_connect_fail = lambda *_: failed.append(True)
        link.open()
        try:
            await until(lambda: link.connected or failed, "an answer")
            assert (link.connected, bool(failed)) == (comes_in, not comes_in)
        finally:
            await asyncio.to_thread(link.close)


@asynccontextmanager
async def database_over_tls(folder: Path, certificate: str) -> AsyncIterator[tuple[int, list[bytes]]]:
    """What answers as PostgreSQL does until TLS stands; its port, and what it was then told."""
    told: list[bytes] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{certificate}.crt", folder / f"{certificate}.key")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readexactly(8)
            writer.write(b"S")
            await writer.start_tls(context)
            told.append(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], told


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("certificate", "trusted", "spoken_to"),
    [("right", "right", True), ("right", "stranger", False), ("misnamed", "misnamed", False)],
)
async def test_central_names_itself_to_a_database_whose_certificate_holds_and_to_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificate: str, trusted: str, spoken_to: bool
) -> None:
    for name, host in (("right", "127.0.0.1"), ("stranger", "127.0.0.1"), ("misnamed", "database.elsewhere")):
        authority(tmp_path, name, host)
    monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / f"{trusted}.crt"))
    async with database_over_tls(tmp_path, certificate) as (port, told):
        engine = make_engine(f"postgresql+asyncpg://wellread:s3cret-9@127.0.0.1:{port}/wellread?ssl=verify-full")
        with pytest.raises(DATABASE_ERRORS):
            async with reading(engine):
                pass
        await engine.dispose()
    assert any(b"wellread" in each for each in told) == spoken_to


def test_nothing_older_than_tls_1_2_is_spoken() -> None:
    for context in (ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)):
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname

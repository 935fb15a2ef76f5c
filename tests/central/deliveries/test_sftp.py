"""SFTP against a real SSH server: a file has its name whole or not at all; a host with another key gets nothing."""

import ipaddress
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from central.deliveries.targets.sftp import Sftp
from central.deliveries.targets.target import Outgoing, TargetError

pytestmark = pytest.mark.anyio
FILE = Outgoing("d0000001", "a.csv", "text/csv", b"1,2\n" * 1000)
HOST_KEY, OTHER_KEY = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")


class Host(asyncssh.SSHServer):
    """Lets `lims` in with one password."""

    def begin_auth(self, username: str) -> bool:
        """Everybody has to."""
        return True

    def password_auth_supported(self) -> bool:
        """By password."""
        return True

    def validate_password(self, username: str, password: str) -> bool:
        """The one."""
        return (username, password) == ("lims", "swordfish")


def public(key: asyncssh.SSHKey) -> str:
    """A key as a rule has it."""
    return key.export_public_key().decode()


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    """A target's fields for a running host, whose files are below `tmp_path`."""
    (tmp_path / "in").mkdir()
    server = await asyncssh.create_server(
        Host, "127.0.0.1", 0, server_host_keys=[HOST_KEY],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(tmp_path).encode()),
    )  # fmt: skip
    yield {
        "host": "127.0.0.1", "port": server.sockets[0].getsockname()[1], "username": "lims", "folder": "/in",
        "host_key": public(HOST_KEY), "password": "swordfish", "inside": (ipaddress.ip_network("127.0.0.0/8"),),
    }  # fmt: skip
    server.close()
    await server.wait_closed()


async def test_a_file_is_placed_whole_and_taken_when_it_is_gone(host: dict[str, Any], tmp_path: Path) -> None:
    target = Sftp(**host)
    place = await target.prepare(FILE)
    assert [path.name.startswith(".") for path in (tmp_path / "in").iterdir()] == [True]
    assert not await target.finish(FILE, place)
    (placed,) = (tmp_path / "in").iterdir()
    assert (placed.name, placed.read_bytes()) == (FILE.name, FILE.content)
    assert not await target.taken(FILE, place)
    placed.unlink()
    assert await target.taken(FILE, place)
    assert not await target.finish(FILE, place)  # after a crash: it is not put there again
    assert list((tmp_path / "in").iterdir()) == []


async def test_a_host_with_another_key_is_told_nothing(host: dict[str, Any]) -> None:
    with pytest.raises(TargetError, match="shows another key") as caught:
        await Sftp(**host | {"host_key": public(OTHER_KEY)}).prepare(FILE)
    assert caught.value.final


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"password": "wrong"}, "does not let 'lims' in"),
        ({"folder": "/elsewhere"}, "is not there"),
        ({"port": 1}, "does not answer"),
        ({"host_key": "ssh-ed25519 rubble"}, "cannot be read"),
    ],
)
async def test_what_is_wrong_is_said_without_the_secret(host: dict[str, Any], wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(TargetError, match=said) as caught:
        await Sftp(**host | wrong).prepare(FILE)
    assert "swordfish" not in str(caught.value)


async def test_a_name_that_is_there_is_never_written_over(host: dict[str, Any], tmp_path: Path) -> None:
    place = await Sftp(**host).prepare(FILE)
    (tmp_path / "in" / FILE.name).write_text("somebody's")
    with pytest.raises(TargetError, match="not of this delivery"):
        await Sftp(**host).finish(FILE, place)
    with pytest.raises(TargetError, match="send again under a new name"):
        await Sftp(**host).prepare(FILE)
    assert (tmp_path / "in" / FILE.name).read_text() == "somebody's"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "10.1.2.3", "169.254.169.254", "::1", "::ffff:10.0.0.1"])
async def test_a_host_inside_that_is_not_listed_is_not_spoken_to(host: dict[str, Any], name: str) -> None:
    with pytest.raises(TargetError, match=r"which is inside.*WELLREAD_DELIVERY_NETWORKS") as caught:
        await Sftp(**host | {"host": name, "inside": ()}).prepare(FILE)
    assert caught.value.final


async def test_a_host_that_changes_its_address_is_looked_up_once_and_reached_where_it_was_checked(
    host: dict[str, Any], tmp_path: Path
) -> None:
    asked: list[str] = []

    def rebinding(name: str, _: int) -> Sequence[str]:
        asked.append(name)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    await Sftp(**host | {"host": "lims.example", "resolve": rebinding}).prepare(FILE)
    assert asked == ["lims.example"]
    assert list((tmp_path / "in").iterdir())


async def test_a_host_that_is_no_name_is_said(host: dict[str, Any]) -> None:
    with pytest.raises(TargetError, match="has no address"):
        await Sftp(**host | {"host": "lims\0.example"}).prepare(FILE)

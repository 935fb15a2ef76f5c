"""An archive carried by hand: what was put in comes out, and nothing that was altered, cut off or signed by another."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import codec
from protocol.archive import ArchivedPicture, End, Header, Reading, read, verify, write
from protocol.errors import LocalProtocolError
from protocol.messages import Picture, ReadingEnvelope
from protocol.sealing import ArchiveError, Lock
from tests.make import NOON, make_document

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PHOTOGRAPH = b"a photograph" * 9_000
PASSPHRASE = "a bench by the window"
LOCK = Lock(PASSPHRASE, bytes(32))


def public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def header(key: Ed25519PrivateKey = KEY) -> Header:
    return Header(1, "bench-1", "0.1.0", NOON + timedelta(days=3), public(key))


def envelope(number: int) -> ReadingEnvelope:
    picture = Picture(sha256(PHOTOGRAPH).hexdigest(), len(PHOTOGRAPH), 1600, 1200, "image/jpeg", f"{number}.jpg")
    document = make_document(number, picture=picture)
    return codec.envelope(document, device_id="bench-1", epoch="e1", seq=number, historical=True)


PICTURE = ArchivedPicture(sha256(PHOTOGRAPH).hexdigest(), PHOTOGRAPH)
PUT_IN = [envelope(1), PICTURE, envelope(2)]


def archive(lock: Lock | None = None, key: Ed25519PrivateKey = KEY) -> bytes:
    return b"".join(write(header(key), PUT_IN, key.sign, lock))


def in_pieces(whole: bytes, size: int) -> Iterator[bytes]:
    return (whole[at : at + size] for at in range(0, len(whole), size))


OPEN_ARCHIVE = archive()
SEALED_ARCHIVE = archive(LOCK)


@pytest.mark.parametrize(("whole", "passphrase"), [(OPEN_ARCHIVE, None), (SEALED_ARCHIVE, PASSPHRASE)])
@pytest.mark.parametrize("size", [1_000, 10**9])
def test_what_was_put_in_comes_out(whole: bytes, passphrase: str | None, size: int) -> None:
    first, one, picture, two, end = read(in_pieces(whole, size), passphrase, public(KEY))
    assert (first, picture) == (header(), PICTURE)
    assert [record.envelope for record in (one, two) if isinstance(record, Reading)] == [envelope(1), envelope(2)]
    assert isinstance(one, Reading)
    assert codec.decode(one.wire, ReadingEnvelope) == envelope(1)
    assert isinstance(end, End)
    assert (end.readings, end.pictures) == (2, 1)


def test_an_archive_of_nothing_is_one() -> None:
    first, end = verify(write(header(), [], KEY.sign))
    assert (first.device_id, end.readings) == ("bench-1", 0)


@settings(max_examples=300)
@given(st.integers(0, len(OPEN_ARCHIVE) * 8 - 1))
def test_no_flipped_bit_goes_unnoticed(bit: int) -> None:
    altered = bytearray(OPEN_ARCHIVE)
    altered[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ArchiveError):
        verify([bytes(altered)])


@settings(max_examples=200)
@given(st.integers(0, len(OPEN_ARCHIVE) - 1))
def test_no_cut_goes_unnoticed(size: int) -> None:
    with pytest.raises(ArchiveError, match=r"cut off|not a Wellread"):
        verify([OPEN_ARCHIVE[:size]])


@pytest.mark.parametrize("at", [25, 60, 70_000, len(SEALED_ARCHIVE) - 1])
def test_no_altered_piece_of_a_sealed_archive_is_opened(at: int) -> None:
    altered = bytearray(SEALED_ARCHIVE)
    altered[at] ^= 1
    with pytest.raises(ArchiveError, match="cannot be opened"):
        verify([bytes(altered)], PASSPHRASE)


@pytest.mark.parametrize("kept", [20 + 32, 20 + 32 + 64 * 1024 + 16, len(SEALED_ARCHIVE) - 100])
def test_a_sealed_archive_cut_off_between_pieces_is_not_taken_for_whole(kept: int) -> None:
    with pytest.raises(ArchiveError, match="cannot be opened"):
        verify([SEALED_ARCHIVE[:kept]], PASSPHRASE)


def test_a_sealed_archive_shows_nothing_of_its_readings() -> None:
    assert b"bench-1" in OPEN_ARCHIVE
    assert b"bench-1" not in SEALED_ARCHIVE
    assert PASSPHRASE not in repr(LOCK)


def test_another_passphrase_opens_nothing() -> None:
    with pytest.raises(ArchiveError, match="another passphrase"):
        verify([SEALED_ARCHIVE], "a bench by the door")
    with pytest.raises(ArchiveError, match="expected a passphrase"):
        verify([SEALED_ARCHIVE])


def test_the_same_words_typed_on_another_keyboard_open_it() -> None:
    sealed = b"".join(write(header(), [], KEY.sign, Lock("Prüfung am Fenster", bytes(32))))
    assert verify([sealed], "Pru\u0308fung am Fenster")[1].readings == 0


def test_a_passphrase_that_is_guessed_at_once_is_refused() -> None:
    with pytest.raises(ArchiveError, match="7 signs"):
        list(write(header(), [], KEY.sign, Lock("1234567", bytes(32))))


def test_an_archive_of_another_key_is_refused_before_anything_of_it_is_given() -> None:
    records = read([archive(key=OTHER_KEY)], signer=public(KEY))
    with pytest.raises(ArchiveError, match=f"signed with the key {public(OTHER_KEY)}"):
        next(records)


def test_a_signature_by_another_key_than_the_header_names_is_refused() -> None:
    with pytest.raises(ArchiveError, match="signature is not by the key"):
        verify(write(header(KEY), PUT_IN, OTHER_KEY.sign))


def test_what_follows_the_end_is_refused() -> None:
    with pytest.raises(ArchiveError, match="something follows"):
        verify([OPEN_ARCHIVE, b"x"])


def test_a_picture_that_no_reading_names_is_refused() -> None:
    stranger = ArchivedPicture(sha256(b"x").hexdigest(), b"x")
    with pytest.raises(ArchiveError, match="record 2 is a picture"):
        verify(write(header(), [envelope(1), stranger], KEY.sign))


def test_a_record_that_claims_a_gigabyte_is_refused_before_it_is_read() -> None:
    def endless() -> Iterable[bytes]:
        yield OPEN_ARCHIVE[:20] + b"P" + (2**30).to_bytes(4, "big")
        pytest.fail("read on")

    with pytest.raises(ArchiveError, match="claims 1073741824 bytes"):
        verify(endless())


def test_a_picture_too_large_to_be_read_again_is_not_written() -> None:
    with pytest.raises(LocalProtocolError, match="expected at most"):
        list(write(header(), [ArchivedPicture("0" * 64, bytes(64 * 1024 * 1024 + 1))], KEY.sign))


def test_the_signature_holds_the_order_of_the_readings() -> None:
    one, two = (list(write(header(), order, KEY.sign)) for order in ([envelope(1)], [envelope(2)]))
    with pytest.raises(ArchiveError, match="was altered"):
        verify([*one[:2], two[2], *one[3:]])

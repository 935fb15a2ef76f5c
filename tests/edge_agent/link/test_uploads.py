"""Uploads: only what central wants, from where it left off, and never a damaged picture."""

import hashlib
from contextlib import closing
from pathlib import Path
from threading import Event

import httpx
import pytest

from edge_agent.link import uploads
from edge_agent.link.enrol import Access
from edge_agent.link.uploads import PIECE_BYTES, Outcome, upload, upload_wanted
from edge_agent.outbox.rows import WantedPicture
from protocol.codec import digest
from protocol.messages import BrokerAccess, Enrolment
from tests.edge_agent.bench import kept, open_outbox, put
from tests.edge_agent.web import Answer, Request, serving

BIG = bytes(range(256)) * 4096 * 3 + b"the end"


class Images:
    """Central's side of an upload; the connection is cut at the `cut_at`-th piece, after it was stored."""

    def __init__(self, *, cut_at: int = 0, token: str = "token") -> None:
        self.partial: dict[str, bytes] = {}
        self.complete: dict[str, bytes] = {}
        self.pieces: list[str] = []
        self._cut_at, self._token = cut_at, token

    def answer(self, request: Request) -> Answer:
        sha256 = request.path.removeprefix("/api/v1/images/")
        if request.headers.get("Authorization") != f"Bearer {self._token}":
            return Answer(401, b"" if request.method == "HEAD" else b'{"detail": "bad token"}')
        if sha256 in self.complete:
            return Answer(200)
        held = self.partial.get(sha256, b"")
        if request.method == "HEAD":
            return Answer(404, headers=(("Upload-Offset", str(len(held))),))
        self.pieces.append(request.headers["Content-Range"])
        return self._store(sha256, held, request)

    def _store(self, sha256: str, held: bytes, request: Request) -> Answer:
        span, total = request.headers["Content-Range"].removeprefix("bytes ").split("/")
        if int(span.split("-")[0]) != len(held):
            return Answer(409)
        held += request.body
        if len(held) < int(total):
            self.partial[sha256] = held
            made = Answer(202, headers=(("Upload-Offset", str(len(held))),))
        else:
            self.partial.pop(sha256, None)
            made = Answer(422)
            if hashlib.sha256(held).hexdigest() == sha256:
                self.complete[sha256] = held
                made = Answer(201)
        return Answer(cut=True) if len(self.pieces) == self._cut_at else made


def access(url: str) -> Access:
    return Access(url, Enrolment("bench-1", "Bench", BrokerAccess("127.0.0.1", 1, "bench-1", "x"), "token"))


def big_picture(folder: Path, content: bytes = BIG) -> WantedPicture:
    path = folder / "big.jpg"
    path.write_bytes(content)
    return WantedPicture(digest(BIG), path, "image/jpeg")


def test_a_large_picture_goes_in_pieces(tmp_path: Path) -> None:
    images = Images()
    with serving(images.answer) as url, httpx.Client() as client:
        assert upload(big_picture(tmp_path), access(url), client) is Outcome.DONE
    assert images.complete == {digest(BIG): BIG}
    assert images.pieces[0] == f"bytes 0-{PIECE_BYTES - 1}/{len(BIG)}"
    assert len(images.pieces) == 4


def test_after_a_cut_only_the_rest_is_sent(tmp_path: Path) -> None:
    images, picture = Images(cut_at=2), big_picture(tmp_path)
    with serving(images.answer) as url, httpx.Client() as client:
        with pytest.raises(httpx.HTTPError):
            upload(picture, access(url), client)
        assert upload(picture, access(url), client) is Outcome.DONE
    assert images.complete == {digest(BIG): BIG}
    assert [span.split("-")[0] for span in images.pieces] == [f"bytes {n * PIECE_BYTES}" for n in range(4)]


def test_a_partial_copy_that_went_bad_is_sent_anew(tmp_path: Path) -> None:
    images = Images()
    images.partial[digest(BIG)] = b"x" * PIECE_BYTES
    with serving(images.answer) as url, httpx.Client() as client:
        assert upload(big_picture(tmp_path), access(url), client) is Outcome.DONE
    assert images.complete == {digest(BIG): BIG}


def test_a_picture_that_central_has_is_not_sent(tmp_path: Path) -> None:
    images = Images()
    images.complete[digest(BIG)] = BIG
    with serving(images.answer) as url, httpx.Client() as client:
        assert upload(big_picture(tmp_path), access(url), client) is Outcome.DONE
    assert images.pieces == []


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_picture_that_is_not_what_was_captured_is_never_sent(tmp_path: Path, how: str) -> None:
    images, picture = Images(), big_picture(tmp_path, BIG[:-1] + b"!")
    if how == "missing":
        picture.path.unlink()
    with serving(images.answer) as url, httpx.Client() as client:
        assert upload(picture, access(url), client) is Outcome.LOST
    assert images.pieces == []


def test_a_bad_token_is_for_later(tmp_path: Path) -> None:
    with serving(Images(token="another").answer) as url, httpx.Client() as client:
        assert upload(big_picture(tmp_path), access(url), client) is Outcome.LATER


def test_only_wanted_pictures_are_uploaded_and_then_no_longer_wanted(tmp_path: Path) -> None:
    images = Images()
    with serving(images.answer) as url, closing(open_outbox(tmp_path)) as outbox, httpx.Client() as client:
        put(outbox, 1, 2)
        outbox.want([digest(kept(2)[1])])
        assert upload_wanted(outbox, access(url), client, Event())
        assert outbox.wanted() == []
    assert images.complete == {digest(kept(2)[1]): kept(2)[1]}


def test_a_lost_answer_is_asked_for_again(tmp_path: Path) -> None:
    images, stop, exchanges = Images(cut_at=1), Event(), list[int]()

    def answer(request: Request) -> Answer:
        made = images.answer(request)
        if made.status == 200 and not made.cut:
            stop.set()
        return made

    with serving(answer) as url, closing(open_outbox(tmp_path)) as outbox:
        put(outbox, 1)
        outbox.want([digest(kept(1)[1])])
        uploads.run(outbox, lambda: access(url), lambda: -1.0, stop, lambda: exchanges.append(1))
        assert outbox.wanted() == []
    # What may take minutes on a bad line is told before it begins: a question, a piece.
    assert len(exchanges) >= 2
    assert len(images.pieces) == 1

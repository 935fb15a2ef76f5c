"""E-mail, where the settings name a server: links by which people join or set a new password, and notices.

The line is always encrypted (TLS from the start with `smtps://`, STARTTLS with `smtp://`), but for a server on this
very machine; a server that offers no encryption gets nothing.
"""

import ipaddress
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr
from typing import Final
from urllib.parse import unquote, urlsplit

import anyio.to_thread

TIMEOUT_S: Final = 20.0


class MailError(Exception):
    """The server did not take the letter; the message says why, without what the letter said."""


class LetterRefusedError(MailError):
    """It will not take this letter, or not to these people: trying again is no use."""


class MaybeSentError(MailError):
    """The line was lost between the last byte of the letter and the server's word: it may have gone out."""


@dataclass(frozen=True, slots=True)
class Mailer:
    """A server, how to sign in there, and who the letters are from."""

    host: str
    port: int
    sender: str
    tls_from_start: bool
    username: str = ""
    password: str = ""
    trust: ssl.SSLContext | None = None

    async def send(self, to: str, subject: str, text: str, *, letter_id: str | None = None) -> None:
        """One letter; MailError where it cannot go out. By its id, the same at every try, it is known again."""
        letter = EmailMessage()
        if letter_id is not None:
            letter["Message-ID"] = f"<{letter_id}@{self.sender.rpartition('@')[2].strip('<> ')}>"
            letter["Auto-Submitted"] = "auto-generated"
        letter["From"], letter["To"], letter["Subject"] = self.sender, to, subject
        letter.set_content(text)
        await self.hand_over(letter, [to])

    async def hand_over(self, letter: EmailMessage, to: Sequence[str]) -> None:
        """This letter to all of these people or to none of them; MailError, and which one, where it cannot go out."""
        await anyio.to_thread.run_sync(self._hand_over, letter, to)

    def _hand_over(self, letter: EmailMessage, to: Sequence[str]) -> None:
        content = letter.as_bytes(policy=SMTP)
        try:
            server = self._connect()
            try:
                server.ehlo_or_helo_if_needed()
                self._check(server.mail(parseaddr(self.sender)[1]), "sender")
                for address in to:
                    self._check(server.rcpt(address), address)
                self._put(server, content)
            finally:
                server.close()
        except UnicodeError as error:
            raise LetterRefusedError(f"{self} cannot be told an address (expected signs of ASCII alone)") from error
        except (OSError, smtplib.SMTPException) as error:
            raise MailError(f"{self} did not take the letter: {_reason(error)}") from error

    def _put(self, server: smtplib.SMTP, content: bytes) -> None:
        try:
            self._check(server.data(content), "the letter")
        except smtplib.SMTPDataError as error:
            self._check((error.smtp_code, error.smtp_error), "the letter")
        except (OSError, smtplib.SMTPServerDisconnected) as error:
            raise MaybeSentError(f"{self} did not say whether it took the letter: {_reason(error)}") from error

    def _check(self, answer: tuple[int, bytes | str], of: str) -> None:
        code, said = answer
        if not 200 <= code < 300:
            words = said.decode(errors="replace") if isinstance(said, bytes) else said
            kind = LetterRefusedError if code >= 500 else MailError
            raise kind(f"{self} refuses {of}: {code} {words[:200]}")

    def __str__(self) -> str:
        """As people are told; without secrets."""
        return f"mail server {self.host}:{self.port}"

    def _connect(self) -> smtplib.SMTP:
        """Signed in, over an encrypted line."""
        trust = self.trust or ssl.create_default_context()
        if self.tls_from_start:
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_S, context=trust)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S)
        try:
            if not self.tls_from_start and not _is_here(self.host):
                server.starttls(context=trust)
            if self.username:
                server.login(self.username, self.password)
        except BaseException:
            server.close()
            raise
        return server


def _reason(error: Exception) -> str:
    return type(error).__name__ if isinstance(error, smtplib.SMTPAuthenticationError) else str(error)[:200]


def mailer_of(url: str, sender: str) -> Mailer | None:
    """From settings: `smtps://name:password@host:465` or `smtp://host:587`; None where there is none."""
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ValueError("WELLREAD_SMTP_URL is no mail server (expected smtps://name:password@host or smtp://host:587)")
    if "@" not in sender or not sender.isprintable():
        raise ValueError(f"WELLREAD_MAIL_FROM {sender[:80]!r} (expected the address that letters are from)")
    over_tls = parts.scheme == "smtps"
    return Mailer(
        host=parts.hostname,
        port=parts.port or (465 if over_tls else 587),
        sender=sender,
        tls_from_start=over_tls,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""E-mail, where the settings name a server: links by which people join or set a new password.

The line is always encrypted (TLS from the start with `smtps://`, STARTTLS with `smtp://`), but for a server on this
very machine; a server that offers no encryption gets nothing.
"""

import ipaddress
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Final
from urllib.parse import unquote, urlsplit

import anyio.to_thread

TIMEOUT_S: Final = 20.0


class MailError(Exception):
    """The server did not take the letter; the message says why, without what the letter said."""


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

    async def send(self, to: str, subject: str, text: str) -> None:
        """One letter; MailError where it cannot go out."""
        letter = EmailMessage()
        letter["From"], letter["To"], letter["Subject"] = self.sender, to, subject
        letter.set_content(text)
        await anyio.to_thread.run_sync(self._send, letter)

    def _send(self, letter: EmailMessage) -> None:
        trust = self.trust or ssl.create_default_context()
        try:
            if self.tls_from_start:
                server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_S, context=trust)
            else:
                server = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S)
            with server:
                if not self.tls_from_start and not _is_here(self.host):
                    server.starttls(context=trust)
                if self.username:
                    server.login(self.username, self.password)
                server.send_message(letter)
        except (OSError, smtplib.SMTPException) as error:
            reason = type(error).__name__ if isinstance(error, smtplib.SMTPAuthenticationError) else str(error)[:200]
            raise MailError(f"mail server {self.host}:{self.port} did not take the letter: {reason}") from error


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

"""An e-mail with the file attached, to addresses whose domains the installer allows.

A letter has no name that could be given it later, so sending is the effect, and between its last byte and the server's
word the line can be lost. Then nobody knows whether it went out, and it is sent again: a result that comes twice does
less harm than one that never comes. Every try has the delivery's own Message-ID, so mail programs and people can tell
a second one. That a letter was taken by its reader cannot be seen: somebody has to say so.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr

from central.deliveries.targets.target import Outgoing, Place, TargetError
from central.mail import LetterRefusedError, Mailer, MailError, MaybeSentError


@dataclass(frozen=True, slots=True)
class Email:
    """Who gets the letters, and the server that they go through."""

    mailer: Mailer
    to: tuple[str, ...]
    now: Callable[[], datetime]

    async def prepare(self, file: Outgoing) -> Place:
        """Nothing can be brought near."""
        return {"message_id": self.message_id(file)}

    async def finish(self, file: Outgoing, place: Place) -> bool:
        """Send it; nobody has said yet that it was read."""
        await self.send(self.letter(file))
        return False

    async def send(self, letter: EmailMessage) -> None:
        """Send a letter once; what is wrong, and what to do, where it cannot be."""
        try:
            await self.mailer.hand_over(letter, self.to)
        except LetterRefusedError as error:
            advice = "put right addresses into the rule, or ask who runs the mail server; then try again"
            raise TargetError(str(error), advice, final=True) from error
        except MaybeSentError as error:
            advice = f"it may have arrived; it is sent again with the same Message-ID {letter['Message-ID']}"
            raise TargetError(str(error), advice) from error
        except MailError as error:
            raise TargetError(str(error), "check WELLREAD_SMTP_URL and the server; it is tried again") from error

    async def taken(self, file: Outgoing, place: Place) -> bool | None:
        """Nobody but its reader can say so."""
        return None

    def message_id(self, file: Outgoing) -> str:
        """The same at every try of one delivery."""
        return f"<{file.id}@{parseaddr(self.mailer.sender)[1].rpartition('@')[2]}>"

    def letter(self, file: Outgoing) -> EmailMessage:
        """The file, with enough beside it to know what it is and whether it is whole."""
        what, says = "Results", "Approved results are in the attached file"
        if file.withdraws:
            what, says = "Withdrawn", "Results that count no more, and are to be taken back, are in the attached file"
        letter = self._headed(file, f"{what}: {file.name}")
        digest = hashlib.sha256(file.content).hexdigest()
        letter.set_content(
            f"{says} {file.name}.\n\n"
            f"Delivery {file.id}\nSHA-256 {digest}\n\n"
            "A letter with the same Message-ID is this one again: take the file once.\n"
        )
        main, _, sub = file.media_type.partition("/")
        letter.add_attachment(file.content, maintype=main, subtype=sub, filename=file.name)
        return letter

    def test_letter(self, file: Outgoing, said: str) -> EmailMessage:
        """A letter that brings nothing."""
        letter = self._headed(file, "A test: no results")
        letter.set_content(f"{said}\n")
        return letter

    def _headed(self, file: Outgoing, subject: str) -> EmailMessage:
        letter = EmailMessage()
        letter["From"], letter["To"] = self.mailer.sender, ", ".join(self.to)
        letter["Subject"] = subject
        letter["Date"], letter["Message-ID"] = format_datetime(self.now()), self.message_id(file)
        letter["Auto-Submitted"] = "auto-generated"
        return letter

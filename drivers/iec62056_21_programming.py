"""Programming mode of IEC 62056-21, our side: the way in, the password, one question after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drivers.dialogue import (
    LATE,
    DamagedFrame,
    Dialogue,
    Done,
    Drain,
    MeterRefused,
    More,
    Never,
    NoAnswer,
    NotInProfile,
)
from drivers.iec62056_21_frames import ACK, Acknowledged, Block, Command, Identification, parse_reply
from drivers.iec62056_21_session import READOUT_MOST, SIGN_ONS, Session

T = TypeVar("T")

ANSWER_MOST = 4096  # bytes: one answer in programming mode
REPEATS = 2  # of one question in programming mode


class PasswordRefused(MeterRefused):
    """The meter does not take the password. Do not say it again: meters lock themselves after a few wrong ones."""


class Programming(Session):
    """A session that is led in programming mode."""

    _due = ""  # the last question that was asked again while its first answer could still come

    def open(self, accept: Callable[[Identification], None], access: str, password: bytes | None) -> Dialogue[None]:
        """Sign on, enter programming mode, and say the password. Raises PasswordRefused where it is not taken."""
        for tries in range(1, SIGN_ONS + 1):
            yield from self._begin(accept)
            if self._met().mode != "C":
                raise NotInProfile(
                    f"{self.meter} is a mode {self._met().mode} meter: it has no option select, and so no "
                    "programming mode as the profile wants it"
                )
            yield from self.select("1", last=tries == SIGN_ONS)
            try:
                seed = yield from self._reply(Command)
            except (NoAnswer, DamagedFrame) as error:
                if tries == SIGN_ONS:
                    failed = self._silent(error) if isinstance(error, NoAnswer) else self._broken(error)
                    raise self._refused_mode(failed) from None
                yield Drain(self._first)
                yield from self.leave()
                continue
            if seed.name != "P0":
                raise MeterRefused(f"{self.meter} does not enter programming mode; it says {seed.name}")
            if access != "none":
                yield from self._password(access, password or b"")
            self._due = ""  # what the last session left unheard was waited for before this one
            return

    def _password(self, access: str, password: bytes) -> Dialogue[None]:
        message = Command(access, f"({password.decode('ascii', 'replace')})").to_bytes(self.check)
        yield from self.say(message, secret=password)
        try:
            reply = yield from self.hear(self._parse_reply, most=ANSWER_MOST)
        except DamagedFrame as error:
            text = f"what {self.meter} answered to the password is damaged; not shown, since it may hold it (an echo)"
            raise DamagedFrame(text, whole=error.whole) from None
        if isinstance(reply, Acknowledged) and not reply.repeat:
            return
        if not (isinstance(reply, Command) and reply.name == "B0"):
            yield from self.leave()  # it has not ended the session itself
        text = "NAK" if isinstance(reply, Acknowledged) else reply.name if isinstance(reply, Command) else "an error"
        raise PasswordRefused(
            f"{self.meter} does not take the password ({access}): it answers {text}. Give the right one with "
            "password_file; it is not tried again, since meters lock themselves after a few wrong ones"
        )

    def question(self, command: str, data: str, understand: Callable[[bytes], T]) -> Dialogue[T]:
        """One question in programming mode, and what `understand` makes of the answer, of all its blocks.

        Raises what `understand` raises, MeterRefused where the meter ends the session, NoAnswer and DamagedFrame after
        bounded repeats.
        """
        yield from self._let_pass(data)
        message = Command(command, data).to_bytes(self.check)
        for tries in range(REPEATS + 1):
            yield from self.say(message)
            try:
                block = yield from self._reply(Block)
                body = block.body
                while block.more:
                    yield from self.say(ACK)
                    block = yield from self._reply(Block)
                    body += block.body
                    if len(body) > READOUT_MOST:
                        raise DamagedFrame(f"{data}: more than {READOUT_MOST} characters and no end")
                return understand(body)
            except NoAnswer:
                self._due = data
                if tries:
                    raise
                yield Drain(self._first)
            except DamagedFrame as error:
                self._due = self._due if error.whole else data
                if tries == REPEATS:
                    raise self._broken(error) from None
                yield Drain(self.reaction if error.whole else self._first)
        raise AssertionError("unreachable")

    def _let_pass(self, data: str) -> Dialogue[None]:
        """Silence before a question whose answer looks like the one that is still due: same name, other brackets.

        An answer names its value, but not the month that was asked for (ENMPE(04.22) of Energomera). A meter that ends
        its session meanwhile is signed on to anew.
        """
        if self._due and self._due != data and self._due.partition("(")[0] == data.partition("(")[0]:
            self._due = ""
            yield Drain(LATE * self._first)

    def _reply(self, kind: type[T]) -> Dialogue[T]:
        """The next block or command of the meter; an echo of ours is passed over, a NAK is damage."""
        for _ in range(3):  # an echo, and an acknowledgement that some meters send first
            reply = yield from self.hear(self._parse_reply, most=ANSWER_MOST)
            if isinstance(reply, kind):
                return reply
            if isinstance(reply, Acknowledged) and reply.repeat:
                raise DamagedFrame(f"{self.meter} asks for a repetition (NAK): our message was damaged", whole=True)
            if isinstance(reply, Command) and reply.name == "B0":
                raise MeterRefused(f"{self.meter} ends the session (B0)")
            if isinstance(reply, Block):
                raise MeterRefused(f"{self.meter} answers {reply.body[:80].decode('ascii')!r}")
        raise DamagedFrame(f"{self.meter} answers with acknowledgements only", whole=True)

    def _parse_reply(self, characters: bytes) -> More | Done[Any] | Never:
        return parse_reply(characters, self.check)

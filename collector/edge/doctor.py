"""What is wrong with a line, in words, from what was seen on it: a list of checks, each a function. Pure.

Rule 1. A check says only what bytes and times show. Where two causes look alike, both are named, the likelier first.
Rule 2. `fault`: a reading can fail by it, or did. `note`: it is worth knowing and harms nothing.
Rule 3. Nobody there, and somebody who is understood at other settings, are told apart only where those were tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from collector.edge.doctor_watch import Exchange
from collector.serials import same_serial
from drivers.dialogue import DriverError, MeterRefused, NotInProfile, Stranger
from drivers.iec62056_21_characters import PARITY, STRIPPED, off_wire, sound

Level = Literal["fault", "note"]
SHOWN = 12  # bytes that a sentence shows
SEVEN_BITS = 16  # bytes without bit 7 that cannot be chance: one in 65,536, where any byte may come
TARDY = 0.8  # share of the allowed time from which an answer is told to be late


@dataclass(frozen=True, slots=True)
class Way:
    """A way to ask: protocol, address, speed and framing of the characters."""

    protocol: str
    address: str
    baudrate: int
    framing: str

    def __str__(self) -> str:
        whom = f", address {self.address}" if self.address else ""
        return f"{self.baudrate} {self.framing}{whom}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen. `asked`: how; `elsewhere`: another way that was answered; `tried`: how many ways in all.

    `idle`: what came though nobody was asked. `serials`: the serial number of each reading that gave one. `ended`: by
    what a reading ended that the wire carried soundly (a profile of another meter). `timeout`: seconds that a reading
    gives the meter. `can_switch`: whether other speeds could be tried. `parity`: whether the protocol's characters have
    seven bits and a parity of which we know.
    """

    asked: Way
    exchanges: Sequence[Exchange]
    idle: bytes = b""
    elsewhere: Way | None = None
    tried: int = 1
    serials: Sequence[str] = ()
    ended: DriverError | None = None
    timeout: float = 0.5
    can_switch: bool = True
    parity: bool = False

    @property
    def sound(self) -> list[Exchange]:
        return [it for it in self.exchanges if it.sound]

    @property
    def damaged(self) -> list[Exchange]:
        """Where something came that is no sound frame."""
        return [it for it in self.exchanges if not it.sound and it.answer]

    @property
    def silent(self) -> list[Exchange]:
        return [it for it in self.exchanges if not it.sound and not it.answer]


@dataclass(frozen=True, slots=True)
class Finding:
    """`name`: of the check, for programs; `text`: what is wrong and what to do."""

    name: str
    level: Level
    text: str


def findings(evidence: Evidence) -> list[Finding]:
    """All that is to be said, the gravest first. Without a fault the line is healthy."""
    found = [
        Finding(check.__name__.replace("_", "-"), level, text) for level, check in CHECKS for text in check(evidence)
    ]
    return sorted(found, key=lambda finding: finding.level)


# ----------------------------------------------------------------------------- checks


def nobody(seen: Evidence) -> Iterator[str]:
    """Nothing came, at no setting."""
    if seen.elsewhere or seen.sound or seen.damaged or any(it.late for it in seen.exchanges) or seen.idle:
        return
    ways = f"asked in {seen.tried} ways, speeds and framings" if seen.tried > 1 else f"asked at {seen.asked}"
    if any(it.echo for it in seen.exchanges):
        yield (
            f"nobody answers ({ways}), but the adapter hears its own words: port and adapter work. Look beyond them: "
            "the "
            "two wires (swap A and B: that harms nothing), the meter's power, its address"
        )
        return
    yield (
        f"nobody answers ({ways}). In this order: is the meter powered, and is it its address? Are the two wires "
        "swapped "
        "(A and B are named differently by makers; swapping them harms nothing: do it and look again), loose, or on "
        "other terminals? Does the optical head sit well, its cable downwards?"
    )
    if not seen.can_switch:
        yield (
            "this converter cannot be switched from here, so only what it is set to was tried (taken for "
            f"{seen.asked.baudrate} "
            f"{seen.asked.framing}): compare speed and framing in its own settings with the meter's"
        )


def other_settings(seen: Evidence) -> Iterator[str]:
    """It is understood in another way than the one it was asked in."""
    other, asked = seen.elsewhere, seen.asked
    if other is None:
        return
    if other.baudrate != asked.baudrate:
        yield (
            f"wrong baud: nobody is understood at {asked.baudrate} {asked.framing}, the meter answers at "
            f"{other.baudrate} "
            f"{other.framing}; set baudrate: {other.baudrate}, framing: {other.framing}"
        )
    elif other.framing != asked.framing:
        yield _framing(asked.framing, other.framing)
    elif other.address != asked.address:
        whom = f"address {other.address}" if other.address else "whoever hears it"
        yield f"nobody has the address {asked.address}, but asked for {whom}, a meter answers: its address is another"


def _framing(ours: str, theirs: str) -> str:
    if ours == STRIPPED and theirs in PARITY:
        return (
            f"the converter is {ours} and the meter {theirs}: the meter's characters carry a parity bit that nobody "
            "takes "
            f"off. Set framing: {theirs} for this meter; the converter may stay at 8N1, parity is then made and "
            "checked here"
        )
    if theirs == STRIPPED and ours in PARITY:
        return (
            f"the converter makes and takes off the parity itself (it is set to {ours}): set the converter to 8N1, "
            "which "
            "carries the parity bit through, or framing: 8N1 for this meter; then damage that only parity shows is "
            "not seen"
        )
    return f"wrong framing: the meter answers at {theirs}, not at {ours}; set framing: {theirs}"


def parity_taken_off(seen: Evidence) -> Iterator[str]:
    """What came has no bit 7 where it must have some."""
    if seen.elsewhere is not None or not seen.damaged:
        return
    came = b"".join(it.answer for it in seen.damaged)
    if (
        seen.parity
        and seen.asked.framing in PARITY
        and came.isascii()
        and not sound(off_wire(came, seen.asked.framing))
    ):
        yield _framing(seen.asked.framing, STRIPPED)
    elif not seen.parity and len(came) >= SEVEN_BITS and came.isascii():
        yield (
            "no byte that comes has bit 7: a converter on the way is set to seven bits and takes it off; set it to "
            "eight "
            "data bits (8N1)"
        )


def parity_left_on(seen: Evidence) -> Iterator[str]:
    """It was asked without parity, and answers with one."""
    came = b"".join(it.answer for it in seen.damaged)
    if seen.elsewhere is None and seen.parity and seen.asked.framing == STRIPPED and not came.isascii():
        yield from (
            _framing(STRIPPED, theirs) for theirs in PARITY if sound(off_wire(came, theirs)) and len(came) >= SEVEN_BITS
        )


def noise_when_idle(seen: Evidence) -> Iterator[str]:
    """Characters came though nobody was asked."""
    if not seen.idle:
        return
    came = f"{len(seen.idle)} characters come though nobody was asked ({_shown(seen.idle)})"
    if set(seen.idle) <= {0x00}:
        yield (
            f"{came}, all of them 00: the line rests at the wrong level. The two wires are swapped, or they carry no "
            "bias "
            "and a long break; swap A and B, which harms nothing"
        )
    else:
        yield (
            f"{came}: another master asks on this line, its wires float (bias and termination are missing), or light "
            "falls into the optical head"
        )


def noise_behind(seen: Evidence) -> Iterator[str]:
    """Characters followed sound frames."""
    struck = [it for it in seen.sound if it.behind and it.second is None]
    if struck:
        yield (
            f"noise after {len(struck)} of {len(seen.sound)} sound frames (such as {_shown(struck[0].behind)}): the "
            "wires "
            "float when nobody drives them. Bias the pair at one place (680 ohm to each rail), terminate it with 120 "
            "ohm at "
            "both ends, or a meter lets go of the line too late"
        )


def noise_before(seen: Evidence) -> Iterator[str]:
    """Characters stood before sound frames."""
    struck = [it for it in seen.sound if it.before]
    if struck:
        yield (
            f"noise before {len(struck)} of {len(seen.sound)} sound frames (such as {_shown(struck[0].before)}): a "
            "glitch "
            "when a driver is switched on; it is passed over, bias on the pair takes it away"
        )


def two_meters(seen: Evidence) -> Iterator[str]:
    """Two answers to one question that differ, two serial numbers, or the same damage again and again."""
    whom = f"at address {seen.asked.address}" if seen.asked.address else "here (asked without an address)"
    remedy = "take one off the line, and give each an address of its own"
    if other := next((it for it in seen.sound if it.second is not None and not it.same), None):
        yield (
            f"two meters answer {whom}: behind one sound answer ({_shown(other.answer)}) comes another "
            f"({_shown(other.behind)}); "
            f"{remedy}"
        )
        return
    if numbers := [text for text in seen.serials if not same_serial(text, seen.serials[0])]:
        yield f"two meters answer {whom}: serial numbers {seen.serials[0]} and {numbers[0]} by turns; {remedy}"
        return
    if any(list(check(seen)) for check in (parity_taken_off, parity_left_on)) or seen.elsewhere is not None:
        return  # that, too, is the same each time
    again = Counter((it.request, it.answer) for it in seen.damaged if it not in _short(seen))
    (_, answer), often = again.most_common(1)[0] if again else ((b"", b""), 0)
    if often > 1:
        yield (
            f"the same damage {often} times ({_shown(answer)}): that is no noise. Two meters answer {whom} at once and "
            f"their answers lie over each other: {remedy}. Or something on the way changes them, always alike: look "
            "for "
            "seven data bits or a translated character in the converter's settings"
        )


def doubled(seen: Evidence) -> Iterator[str]:
    """The same answer twice."""
    if any(it.second is not None and not it.same for it in seen.sound):
        return  # two meters, some of whose answers are alike
    if any(it.late for it in seen.exchanges):
        return  # the late answer to the first question, and the one to the second
    if twice := [it for it in seen.sound if it.second is not None and it.same]:
        yield (
            f"{len(twice)} of {len(seen.sound)} answers came twice: a repeater or converter doubles them, or two "
            "meters with "
            "the same values have one address"
        )


def breaking_off(seen: Evidence) -> Iterator[str]:
    """Answers that stopped in their middle."""
    if any(list(check(seen)) for check in (parity_taken_off, parity_left_on)):
        return  # what makes every character a wrong one hides where the frame ends
    if short := _short(seen):
        yield (
            f"{len(short)} of {len(seen.exchanges)} answers broke off ({_shown(short[0].answer)}): a loose wire, an "
            "optical head that moved, or a converter that packs by a time shorter than a pause between two characters"
        )


def _short(seen: Evidence) -> list[Exchange]:
    """Those that broke off. One as long as others to the same question has only lost its beginning, by damage."""
    found = []
    for exchange in seen.damaged:
        others = [it.answer for it in seen.exchanges if it.request == exchange.request and it is not exchange]
        as_long = any(len(it) == len(exchange.answer) and it != exchange.answer for it in others)
        if exchange.short and not as_long:
            found.append(exchange)
    return found


def late(seen: Evidence) -> Iterator[str]:
    """Answers after they were given up."""
    if tardy := [it for it in seen.exchanges if it.late]:
        yield (
            f"{len(tardy)} of {len(seen.exchanges)} answers came after they had been given up ({seen.timeout:g} s "
            "are allowed): a network on the way holds them back, or the meter is slower than its profile says "
            "(line.timeout)"
        )


def damaged(seen: Evidence) -> Iterator[str]:
    """What came and is no sound answer, where nothing above says why."""
    if seen.elsewhere is not None or any(
        list(check(seen)) for check in (parity_taken_off, parity_left_on, two_meters, breaking_off)
    ):
        return
    if seen.damaged:
        last = seen.damaged[-1]
        yield (
            f"{len(seen.damaged)} of {len(seen.exchanges)} answers are damaged: disturbance, missing termination, a "
            "bad "
            f"contact, or a wrong speed or framing. The last: {last.error}"
        )


def some_silent(seen: Evidence) -> Iterator[str]:
    """A meter that answers, but not always."""
    if seen.sound and not any(it.late for it in seen.exchanges) and (silent := seen.silent):
        yield (
            f"{len(silent)} of {len(seen.exchanges)} questions were not answered: a question is damaged on its way "
            "to the "
            "meter, or a meter does not know this one and is silent"
        )


def another_meter(seen: Evidence) -> Iterator[str]:
    """The line carried it soundly, but it is not what the profile says."""
    if isinstance(seen.ended, NotInProfile | Stranger):
        yield f"the line is sound, the meter is not what was said: {seen.ended}"


def echo(seen: Evidence) -> Iterator[str]:
    """Our questions come back."""
    back = sum(it.echo for it in seen.exchanges)
    if back:
        yield (
            f"the adapter echoes: {back} of {len(seen.exchanges)} questions came back before their answer. Meterline "
            "takes "
            "that off; other programs may need an adapter that switches its receiver off while it sends"
        )


def slow(seen: Evidence) -> Iterator[str]:
    """Answers that are almost too late."""
    tardy = [it.seconds for it in seen.sound if it.seconds is not None and it.seconds > TARDY * seen.timeout]
    if tardy:
        yield f"answers begin after up to {max(tardy):.2f} s, {seen.timeout:g} s are allowed; a slower day loses them"


def refused(seen: Evidence) -> Iterator[str]:
    """Sound answers that say no."""
    if said := [it.error for it in seen.sound if isinstance(it.error, MeterRefused)]:
        yield f"{len(said)} of {len(seen.exchanges)} answers say no: {said[-1]}"


CHECKS: tuple[tuple[Level, Callable[[Evidence], Iterator[str]]], ...] = (
    ("fault", nobody),
    ("fault", other_settings),
    ("fault", parity_taken_off),
    ("fault", parity_left_on),
    ("fault", noise_when_idle),
    ("fault", two_meters),
    ("fault", noise_behind),
    ("fault", doubled),
    ("fault", breaking_off),
    ("fault", late),
    ("fault", damaged),
    ("fault", some_silent),
    ("fault", another_meter),
    ("note", noise_before),
    ("note", echo),
    ("note", slow),
    ("note", refused),
)


def healthy(seen: Evidence) -> str:
    """What a line without a fault is like."""
    times = [it.seconds for it in seen.sound if it.seconds is not None]
    begins = f"; it begins to answer after {1000 * median(times):.0f} ms" if times else ""
    number = f", serial number {seen.serials[0]}" if seen.serials else ""
    return f"healthy: {len(seen.sound)} of {len(seen.exchanges)} answers sound at {seen.asked}{number}{begins}"


def is_nobody(found: Sequence[Finding]) -> bool:
    """Whether all that is wrong is that nobody is there."""
    return any(finding.name == "nobody" for finding in found)


def _shown(data: bytes) -> str:
    return data[:SHOWN].hex(" ") + (" ..." if len(data) > SHOWN else "")

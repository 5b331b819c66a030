"""What one asking of an IEC 62056-21 meter costs its line, by usual lengths."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.dialogue import Ask, character_seconds
from drivers.iec62056_21_session import START
from drivers.iec62056_21_values import questions
from drivers.iec_places import IecProfile


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a planned asking."""

    text: str
    names: tuple[str, ...]
    milliseconds: float


SIGN_ON, SELECT, IDENTIFIED = 15, 6, 24  # characters: /?12345678!, an option select, a usual identification
DATA_SET = 30  # characters: 1-0:1.8.0*255(0000112.628*kWh) and its line end
USUAL_SETS = 24  # data sets of a readout whose registers no profile lists (MT174, E350 and LEM EM4TII: 18 to 23)
QUESTION, ANSWER = 16, 40  # characters: SOH R1 STX 0F0880FF() ETX BCC, and a usual answer


def plan(profile: IecProfile, ask: Ask) -> tuple[Step, ...]:
    """What one asking costs, by usual lengths: what a meter puts into its readout nobody knows before it is read.

    Raises NotInProfile.
    """
    baudrate = ask.baudrate
    asked = questions(profile, ask)
    names = tuple(name for values in asked.values() for name in values)
    fast = profile.iec.fastest if baudrate == START else baudrate
    fast = min(fast, 9600) if baudrate == START else fast  # what most meters offer
    wait = max(ask.turnaround, 0.2)
    slow_char, fast_char = character_seconds(baudrate, ask.framing), character_seconds(fast, ask.framing)
    signing = (SIGN_ON + SELECT + IDENTIFIED) * slow_char + 3 * wait
    if profile.iec.session == "push":
        return (Step("wait for what it sends", names, (_readout_length(profile) * slow_char) * 1000),)
    if profile.iec.session == "readout":
        seconds = signing + _readout_length(profile) * fast_char
        speeds = f"{baudrate} -> {fast}" if fast != baudrate else str(baudrate)
        return (Step(f"readout {speeds}", names, seconds * 1000),)
    opening = signing + 2 * (QUESTION * fast_char + wait)
    steps = [Step("programming mode", (), opening * 1000)]
    cost = (QUESTION + ANSWER) * fast_char + 2 * wait
    steps += [Step(f"{profile.iec.command} {key}", values, cost * 1000) for key, values in asked.items()]
    return tuple(steps)


def _readout_length(profile: IecProfile) -> int:
    return DATA_SET * max(USUAL_SETS, len(profile.registers) + 6)

"""Late answers in programming mode: an answer names its value, but not what stood in the question's brackets."""

from __future__ import annotations

import pytest

from drivers import iec62056_21
from drivers.dialogue import Ask, DriverError, Readout
from drivers.iec62056_21_characters import on_wire
from drivers.iec62056_21_frames import Block, Command
from drivers.profile import load
from tests.drivers.iec_world import World

CE301 = load("energomera-ce301")
ASK = Ask("135064195", codes=("1.8.0",), frozen=True, back=12, baudrate=9600, framing="7E1")
KWH = {f"{month:02d}.22": 1000 + 100 * month for month in range(1, 13)}  # the reading at the end of each month


def said(text: str) -> bytes:
    return Block(text.encode("ascii")).to_bytes("sum")


def questioned(text: str) -> bytes:
    return Command("R1", text).to_bytes("sum")


MESSAGES = {
    b"/?135064195!\r\n": b"/EKT5CE301v12\r\n",
    b"\x06051\r\n": b"\x01P0\x02(777777)\x03\x20",
    Command("P1", "(777777)").to_bytes("sum"): b"\x06",
    questioned("ET0PE()"): said("ET0PE(9000.5)\r\n"),
    questioned("SNUMB()"): said("SNUMB(009114135064195)\r\n"),
    questioned("DATE_()"): said("DATE_(02.03.01.23)\r\n"),
    questioned("TIME_()"): said("TIME_(16:07:45)\r\n"),
} | {questioned(f"ENMPE({month})"): said(f"ENMPE({kwh}.0)\r\n") for month, kwh in KWH.items()}


class Lagging:
    """A line that, from one question on, brings each answer `lag` seconds late, for so many answers.

    Seconds are those that the reader waits: it says how many by its pauses and drains. What is under way when the
    reader has waited long enough is gone; what is not arrives with what is heard next. Its meter ends a session that
    nobody speaks in for `patience` seconds.
    """

    def __init__(self, late: bytes, lag: float, count: int, patience: float = 60) -> None:
        self.world = World(self)
        self._late, self._lag, self._count = late, lag, count
        self._patience, self._heard, self._open = patience, 0.0, False
        self._under_way: list[tuple[float, bytes]] = []

    def __call__(self, heard: bytes, _rate: int) -> bytes:
        now = self.world.waited
        arrived = b"".join(answer for due, answer in self._under_way if due > now)
        self._under_way = []
        self._open = heard.startswith(b"/?") or (self._open and now - self._heard <= self._patience)
        self._heard = now
        answer = on_wire(MESSAGES.get(heard, b"") if self._open else b"", "7E1")
        if heard == self._late and self._count:
            self._count -= 1
            self._under_way.append((now + self._lag, answer))
            return arrived
        return arrived + answer

    def read(self) -> Readout:
        found: Readout = self.world.carry(iec62056_21.read(CE301, ASK))
        return found


def closings(found: Readout) -> dict[str, int]:
    """Month that ended -> Wh."""
    months = {f"2022-{month + 1:02d}-01T00:00:00": f"{month:02d}.22" for month in range(1, 12)}
    months["2023-01-01T00:00:00"] = "12.22"
    return {months[one.stamp or ""]: one.registers["1.8.0"].value for one in found.frozen}


def test_a_year_of_closings_is_read_from_a_line_that_is_in_time() -> None:
    assert closings(Lagging(b"", 0, 0).read()) == {month: 1000 * kwh for month, kwh in KWH.items()}


@pytest.mark.parametrize("month", list(KWH))
@pytest.mark.parametrize("lag", [1.0, 2.5, 4.0])
@pytest.mark.parametrize("count", [1, 2])
def test_a_late_answer_is_never_taken_for_another_month(month: str, lag: float, count: int) -> None:
    try:
        found = Lagging(questioned(f"ENMPE({month})"), lag, count).read()
    except DriverError:
        return
    right = {month: 1000 * kwh for month, kwh in KWH.items()}
    assert closings(found).items() <= right.items()


@pytest.mark.parametrize("month", list(KWH)[1:])
def test_one_late_answer_costs_no_closing_of_a_meter_that_ends_its_session_by_itself(month: str) -> None:
    found = Lagging(questioned(f"ENMPE({month})"), lag=2.5, count=1, patience=3).read()
    assert closings(found) == {month: 1000 * kwh for month, kwh in KWH.items()}

"""From a task to an `Ask`, from a `Readout` to a `Snapshot`: what a line test cannot bring about on a wire."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from collector.edge.asking import HEARD_MOST, TEXT_MOST, MeterSetup, failed, once, probe, taken, whole
from collector.edge.schedule import Task
from collector.localtime import parse_time, to_millis
from drivers.dialogue import Ask, DamagedFrame, Dialogue, Drain, FrozenSet, Measured, NoAnswer, Readout, Receive, Send
from drivers.profile import Profile, load
from tests.edge.virtual import FROZEN

BOUNDARY = Task("boundary", 0, serial=True, frozen=True, anew=True)
INTERVAL = Task("interval", 0)
NOW = to_millis(parse_time("2026-11-01T00:01:00+03:00"))


@pytest.fixture
def setup() -> MeterSetup:
    return MeterSetup("m-001", load(str(FROZEN)), "1", "201", 9600, "8N1", 900_000)


def energy(wh: int) -> Measured:
    return Measured(wh, "kWh", wh.to_bytes(4, "big"))


def snapshot_of(setup: MeterSetup, task: Task, readout: Readout) -> Any:
    return taken(setup, task, readout, asked=NOW - 100, answered=NOW, zone="Europe/Moscow", distrusted=False)


# ----------------------------------------------------------------------------- what is asked


def ask_of(setup: MeterSetup, task: Task, refused: frozenset[str] = frozenset()) -> Ask:
    return whole(setup, task, refused=refused, turnaround=0.005, tcp=False, transaction=7)


def test_a_boundary_asks_for_everything_and_an_interval_reading_for_energy(setup: MeterSetup) -> None:
    boundary, interval = ask_of(setup, BOUNDARY), ask_of(setup, INTERVAL)
    assert (boundary.codes, boundary.serial, boundary.clock, boundary.frozen) == ((), True, True, True)
    assert interval.codes == ("1.8.0", "1.8.1", "1.8.2", "1.8.3")
    assert (interval.serial, interval.clock, interval.frozen) == (False, False, False)


def test_a_meter_whose_total_is_a_sum_is_asked_for_its_total(setup: MeterSetup) -> None:
    profile = setup.profile
    tariffs = {code: register for code, register in profile.registers.items() if code != "1.8.0"}
    summed: Profile = profile.model_copy(update={"registers": tariffs, "total": "sum"})
    vars(summed).pop("energy_codes", None)
    codes = MeterSetup("m", summed, "1", None, 9600, "8N1", 900_000).interval_codes
    assert codes == ("1.8.0", "1.8.1", "1.8.2", "1.8.3")


def test_a_probe_asks_for_the_shortest_value_and_nothing_else(setup: MeterSetup) -> None:
    asked = probe(setup, tcp=False, transaction=0)
    assert (asked.codes, asked.serial, asked.clock, asked.frozen) == (("32.7.0",), False, False, False)


def test_what_was_refused_is_asked_for_again_only_when_it_is_time_to(setup: MeterSetup) -> None:
    refused = frozenset({"1.8.3"})
    assert ask_of(setup, INTERVAL, refused).refused == refused
    assert ask_of(setup, BOUNDARY, refused).refused == frozenset()


# ----------------------------------------------------------------------------- a dialogue that is given up early


def talk() -> Dialogue[str]:
    for _ in range(3):
        yield Send(b"?")
        try:
            return str((yield Receive(lambda buffer: None, 0.5, 0.1)))  # type: ignore[arg-type, return-value]
        except (NoAnswer, DamagedFrame):
            yield Drain(0.5)
    return "gave up"


def test_a_dialogue_carried_out_once_ends_at_the_first_silence_after_the_time_of_a_late_answer() -> None:
    dialogue = once(talk())
    assert next(dialogue) == Send(b"?")
    assert isinstance(dialogue.send(None), Receive)
    assert dialogue.throw(NoAnswer("silence")) == Drain(0.5)
    with pytest.raises(NoAnswer, match="silence"):
        dialogue.send(None)


def test_a_dialogue_carried_out_once_still_asks_again_after_damage_and_gives_its_result() -> None:
    dialogue = once(talk())
    steps: Iterator[Any] = iter([dialogue.send(None), dialogue.send(None), dialogue.throw(DamagedFrame("noise"))])
    assert [type(step) for step in steps] == [Send, Receive, Drain]
    assert [type(dialogue.send(None)) for _ in range(2)] == [Send, Receive]
    with pytest.raises(StopIteration) as end:
        dialogue.send("a frame")
    assert end.value.value == "a frame"


def test_a_meter_that_answered_the_first_question_of_a_probe_is_asked_to_the_end_of_its_session() -> None:
    said: list[str] = []

    def session() -> Dialogue[str]:
        yield Send(b"sign on")
        yield Receive(lambda buffer: None, 0.5, 0.1)  # type: ignore[arg-type, return-value]
        try:
            yield Send(b"read")
            yield Receive(lambda buffer: None, 0.5, 0.1)  # type: ignore[arg-type, return-value]
        except NoAnswer:
            said.append("silence")
            yield Send(b"break")
            raise
        return ""

    dialogue = once(session())
    steps = [next(dialogue), dialogue.send(None), dialogue.send("identification"), dialogue.send(None)]
    assert [type(step) for step in steps] == [Send, Receive, Send, Receive]
    assert dialogue.throw(NoAnswer("silence")) == Send(b"break")
    with pytest.raises(NoAnswer):
        dialogue.send(None)
    assert said == ["silence"]


# ----------------------------------------------------------------------------- what came of it


def test_two_closings_that_claim_one_month_and_differ_are_both_left_out(setup: MeterSetup) -> None:
    first = FrozenSet({"1.8.0": energy(1000)}, stamp="2026-11-01T00:00:00")
    other = FrozenSet({"1.8.0": energy(2000)}, back=1)
    before = FrozenSet({"1.8.0": energy(500)}, back=2)
    for frozen in ((first, other, before), (other, first, before), (first, other, first, before)):
        readout = Readout({"1.8.0": energy(3000)}, "201", "2026-11-01T00:00:59", frozen)
        assert snapshot_of(setup, BOUNDARY, readout).frozen == {"2026-09": {"1.8.0": 500}}
    readout = Readout({"1.8.0": energy(3000)}, "201", "2026-11-01T00:00:59", (first, first, before))
    assert snapshot_of(setup, BOUNDARY, readout).frozen == {"2026-10": {"1.8.0": 1000}, "2026-09": {"1.8.0": 500}}


def test_a_closing_that_belongs_to_no_month_is_not_sent(setup: MeterSetup) -> None:
    reset = FrozenSet({"1.8.0": energy(1000)}, stamp="2026-10-17T11:30:00")
    snapshot = snapshot_of(setup, BOUNDARY, Readout({"1.8.0": energy(3000)}, "201", "2026-11-01T00:00:59", (reset,)))
    assert snapshot.frozen == {}
    assert set(snapshot.raw) == {"1.8.0"}


def test_quantities_are_apart_from_energy(setup: MeterSetup) -> None:
    readout = Readout({"1.8.0": energy(3000), "32.7.0": Measured(Decimal("230.1"), "V", b"\x08\xfd")}, "201")
    snapshot = snapshot_of(setup, BOUNDARY, readout)
    assert snapshot.registers == {"1.8.0": 3000}
    assert snapshot.quantities == {"32.7.0": 230.1}
    assert snapshot.raw == {"1.8.0": "00000bb8", "32.7.0": "08fd"}


def test_a_long_failure_is_cut_to_what_a_snapshot_may_hold(setup: MeterSetup) -> None:
    snapshot = failed(setup, "interval", "damaged", "x" * 5000, asked=NOW, heard=bytes(100_000))
    assert snapshot.failure is not None
    assert len(snapshot.failure.text) == TEXT_MOST
    assert len(snapshot.raw["received"]) == 2 * HEARD_MOST


def test_a_meter_for_which_no_serial_number_is_configured_is_nobodys_stranger(setup: MeterSetup) -> None:
    unbound = MeterSetup("m-001", setup.profile, "1", None, 9600, "8N1", 900_000)
    assert snapshot_of(unbound, BOUNDARY, Readout({"1.8.0": energy(1)}, "201")).failure is None


def test_what_the_bytes_lacked_to_show_damage_goes_with_the_values_and_says_nothing_where_nothing_lacked(
    setup: MeterSetup,
) -> None:
    unchecked = Readout({"1.8.0": energy(3000)}, "201", quality=("no-checksum",))
    for task in (BOUNDARY, INTERVAL):
        snapshot = snapshot_of(setup, task, unchecked)
        assert (snapshot.registers, snapshot.quality) == ({"1.8.0": 3000}, ("no-checksum",))
        assert snapshot.model_dump(mode="json", exclude_defaults=True)["quality"] == ["no-checksum"]
    plain = snapshot_of(setup, BOUNDARY, Readout({"1.8.0": energy(3000)}, "201"))
    assert "quality" not in plain.model_dump(mode="json", exclude_defaults=True)


def test_an_interval_reading_of_a_meter_that_tells_all_carries_the_quantities_that_are_wanted(
    setup: MeterSetup,
) -> None:
    told = {
        "1.8.0": energy(1),
        "32.7.0": Measured(Decimal(230), "V", b"230"),
        "14.7.0": Measured(Decimal(50), "Hz", b""),
    }
    wanted = MeterSetup("m", load("generic-iec62056-21"), "", "201", 300, "7E1", 900_000, quantities=("32.7.0",))
    assert snapshot_of(wanted, INTERVAL, Readout(told, "201")).quantities == {"32.7.0": 230.0}
    assert set(snapshot_of(wanted, BOUNDARY, Readout(told, "201")).quantities) == {"32.7.0", "14.7.0"}


@pytest.mark.parametrize(
    ("name", "codes"),
    [("abb-b23", 1), ("neva-mt324", 1), ("mercury-230", 1), ("iskra-mt174", 1), ("generic-iec62056-21", 0)],
)
def test_the_cheapest_question_is_known_for_every_protocol(name: str, codes: int) -> None:
    known = load(name)
    it = MeterSetup("m", known, "1", "1", known.line.baudrate, known.line.framing, 900_000)
    assert len(it.probe_codes) == codes
    assert set(it.probe_codes) <= set(known.registers)

"""Meters that come, change and go while a line works, and the midnights around it."""

from __future__ import annotations

from dataclasses import replace

from collector.edge.schedule import MINUTE
from tests.edge.virtual import Building, kinds, meter, of


def test_a_meter_that_is_put_in_before_midnight_has_its_boundary_at_midnight() -> None:
    old, new = meter(1), meter(2)
    building = Building([old, new], start="2026-10-31T23:50:00")
    building.line.change((old[0],))
    building.until("2026-10-31T23:58:00")
    building.line.change((new[0],))
    found = building.until("2026-11-01T00:05:00")
    (boundary,) = [snapshot for snapshot in of(found, new[0].id) if snapshot.purpose == "boundary"]
    assert boundary.asked >= building.at("2026-11-01T00:00:00")
    assert kinds([boundary]) == ["ok"]
    assert not of(found, old[0].id)


def test_a_meter_that_is_put_in_after_midnight_gives_the_boundary_it_owes_at_once() -> None:
    old, new = meter(1), meter(2)
    building = Building([old, new], start="2026-10-31T23:50:00")
    building.line.change((old[0],))
    building.until("2026-11-01T00:20:00")
    building.line.change((old[0], new[0]))
    found = of(building.until("2026-11-01T00:22:00"), new[0].id)
    assert [snapshot.purpose for snapshot in found] == ["boundary"]


def test_a_meter_that_stays_is_not_asked_for_its_boundary_again() -> None:
    one, other = meter(1), meter(2)
    building = Building([one, other], start="2026-10-31T23:50:00")
    building.line.change((one[0],))
    before = building.line.meters()
    building.until("2026-11-01T00:20:00")
    building.line.change((one[0], other[0]))
    found = of(building.until("2026-11-01T01:20:00"), one[0].id)
    assert {snapshot.purpose for snapshot in found} == {"interval"}
    assert before != building.line.meters()
    assert building.line.meters()[one[0].id].boundary == "2026-11-01"


def test_another_interval_counts_from_its_next_tick_on_and_forgets_nothing() -> None:
    one = meter(1)
    building = Building([one], start="2026-11-03T10:07:00")
    building.until("2026-11-03T10:20:00")
    answered = building.line.meters()[one[0].id].ok
    building.line.change((replace(one[0], interval=5 * MINUTE),))
    found = building.until("2026-11-03T10:41:00")
    at = [(snapshot.asked - building.at("2026-11-03T10:00:00")) // MINUTE for snapshot in found]
    assert at == [25, 30, 35, 40]
    assert building.line.meters()[one[0].id].ok == answered + 4


def test_another_serial_number_is_another_device_and_must_prove_itself() -> None:
    one = meter(1)
    building = Building([one], start="2026-11-03T10:07:00")
    building.until("2026-11-03T10:20:00")
    building.line.change((replace(one[0], serial_number="999"),))
    found = building.until("2026-11-03T10:32:00")
    assert set(kinds(found)) == {"stranger"}

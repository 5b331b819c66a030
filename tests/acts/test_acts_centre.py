"""Acts at the centre: what they change in the registry and on the bill, and what is held instead of guessed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from collector.central import database as tables
from collector.central.acts import ActReceipt, ActStore
from collector.central.registry import Registry
from collector.central.store.embedded import EmbeddedStore
from collector.central.store.series import Sample
from collector.model_act import Act
from collector.model_act_chain import as_data
from tests.acts.papers import act, device, fields, old, readings, replacement
from tests.central.books import Centre, at
from tests.central.building import ZONE, bring, point
from tests.central.databases import open_database

ACCEPTED = {"admitted": True, "grounds": [], "billing_from": None}
NOW = at("2026-10-25 00:00:00")


class Desk:
    """A centre's registry and its acts."""

    def __init__(self, folder: Path) -> None:
        self.engine: Engine = open_database(folder / "data" / "central.db")
        self.series = EmbeddedStore(folder / "data" / "series.db")
        self.registry = Registry(self.engine)
        self.acts = ActStore(self.registry, self.series, ZONE)

    def take(self, item: Act | dict[str, Any], gateway: str | None = None) -> ActReceipt:
        data = as_data(item) if isinstance(item, Act) else item
        return self.acts.take(data, source="test", gateway=gateway, received=NOW)

    def segments(self, name: str = "kv1") -> list[tuple[str, int | None, int | None, Any, Any]]:
        return [
            (item.meter, item.from_ms, item.to_ms, item.initial, item.final)
            for item in self.registry.segments().get(name, ())
        ]

    def state(self) -> list[Any]:
        with self.engine.connect() as connection:
            return [
                connection.execute(select(table)).all()
                for table in (tables.point_version, tables.meter, tables.binding, tables.segment, tables.seal)
            ]


@pytest.fixture
def desk(tmp_path: Path, database: str) -> Iterator[Desk]:
    it = Desk(tmp_path)
    yield it
    it.series.close()
    it.engine.dispose()


def test_a_commissioning_opens_billing_at_an_imported_point(desk: Desk) -> None:
    bring(desk.engine, point(1))
    assert desk.take(act()).outcome == "taken"
    assert desk.segments() == [("m1", at("2026-10-10 12:00:00"), None, {"1.8.1": 100900, "1.8.2": 10500}, None)]


def test_a_commissioning_brings_a_new_point_with_its_meter_into_the_registry(desk: Desk) -> None:
    assert desk.take(act(flat="14", meter=device(ratio=40))).outcome == "taken"
    (found,) = desk.registry.points(NOW)
    assert (found.point, found.account, found.flat, found.tariffs, str(found.ratio)) == ("kv1", "10001", "14", 2, "40")
    assert desk.registry.meters()["m1"].serial_number == "00001"
    assert desk.registry.gateways() == {"gw-lenina-12"}


def test_the_same_act_twice_by_any_way_changes_nothing(desk: Desk) -> None:
    bring(desk.engine, point(1))
    assert desk.take(act(), "gw-lenina-12").outcome == "taken"
    before = desk.state()
    assert desk.take(act()).outcome == "repeat"
    assert desk.state() == before


def test_a_replacement_closes_one_segment_and_opens_the_next(desk: Desk) -> None:
    bring(desk.engine, point(1))
    first = act()
    assert desk.take(first).outcome == "taken"
    assert desk.take(replacement("2026-000002", first)).outcome == "taken"
    assert desk.segments() == [
        ("m1", at("2026-10-10 12:00:00"), at("2026-10-20 11:50:00"), {"1.8.1": 100900, "1.8.2": 10500},
         {"1.8.1": 120000, "1.8.2": 15000}),
        ("m2", at("2026-10-20 12:00:00"), None, {"1.8.1": 5000, "1.8.2": 1000}, None),
    ]  # fmt: skip


def test_an_import_of_points_still_refuses_what_takes_an_act_and_agrees_with_what_an_act_did(desk: Desk) -> None:
    bring(desk.engine, point(1))
    first = act()
    desk.take(first)
    desk.take(replacement("2026-000002", first))
    report = bring(desk.engine, point(1, meter="m2", serial_number="00002"), now=NOW)
    assert report.unchanged == 1


def test_a_removal_ends_the_segment_and_leaves_the_point_without_a_meter(desk: Desk) -> None:
    bring(desk.engine, point(1))
    first = act()
    desk.take(first)
    gone = act(
        "2026-000002", first, kind="removal", made="2026-10-20T12:00:00+03:00", meter=None, readings=[],
        old_meter=old(t1="120.00", t2="15.00"), checks={}, decision=ACCEPTED,
    )  # fmt: skip
    assert desk.take(gone).outcome == "taken"
    assert desk.segments()[0][2] == at("2026-10-20 11:50:00")


def test_a_refused_meter_opens_nothing(desk: Desk) -> None:
    bring(desk.engine, point(1))
    before = desk.segments()
    refusal = act(
        kind="refusal", decision={"admitted": False, "grounds": ["damage"], "billing_from": None}, seals=[]
    )  # fmt: skip
    assert desk.take(refusal).outcome == "taken"
    assert desk.segments() == before


# ----------------------------------------------------------------------------- held


def held(desk: Desk, item: Act, word: str) -> None:
    before = desk.state()
    receipt = desk.take(item)
    assert receipt.outcome == "held"
    assert word in receipt.reason
    assert desk.state() == before
    ((shown, state, reason),) = desk.acts.acts(held=True)
    assert (shown.hash, state, reason) == (item.hash, "held", receipt.reason)


def test_a_serial_number_that_is_bound_elsewhere_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1, meter="", serial_number="", profile="", gateway=""), point(2))
    numbers = {"wire": "2", "plate": "00002", "registry": None}
    held(
        desk, act(meter=device("m1", serial_number=numbers["plate"]) | {"serial_number": numbers}), "bound to meter m2"
    )


def test_another_serial_number_than_the_meter_is_bound_to_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1))
    held(desk, act(meter=device("m1", "77777")), "m1 is bound to 00001 for ever")


def test_a_replacement_of_a_meter_that_does_not_hang_there_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1, meter="m9", serial_number="00009"))
    held(desk, replacement("2026-000002", None), "overlap: m9 hangs at kv1")


def test_a_replacement_where_no_meter_hangs_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1, meter="", serial_number="", profile="", gateway=""))
    held(desk, replacement("2026-000002", None), "gap: no meter hangs")


def test_a_second_commissioning_of_the_same_meter_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1))
    first = act()
    desk.take(first)
    held(desk, act("2026-000002", first, made="2026-10-11T12:00:00+03:00"), "commissioned here already")


def test_a_meter_that_hangs_at_another_point_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1, meter="", serial_number="", profile="", gateway=""), point(2))
    held(desk, act(meter=device("m2", "00002")), "hangs at point kv2")


def test_final_readings_below_what_was_read_before_are_held(desk: Desk) -> None:
    bring(desk.engine, point(1))
    first = act()
    desk.take(first)
    write(desk, "m1", "2026-10-20 11:30:00", {"1.8.1": 125_000, "1.8.2": 15_000})
    held(desk, replacement("2026-000002", first), "below the 125.000 read before it")


def test_an_act_between_existing_readings_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1))
    write(desk, "m1", "2026-10-10 12:30:00", {"1.8.1": 90_000, "1.8.2": 10_600})
    held(desk, act(), "above the 90.000 read after it")


def test_a_meter_that_still_answers_after_it_was_taken_down_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1))
    first = act()
    desk.take(first)
    write(desk, "m1", "2026-10-20 15:00:00", {"1.8.1": 121_000, "1.8.2": 15_100})
    held(desk, replacement("2026-000002", first), "after it was taken down")


def write(desk: Desk, meter: str, when: str, values: dict[str, int]) -> None:
    desk.series.write([Sample("live", meter, "gw-lenina-12", at(when), values)])


def test_two_technicians_at_one_meter_make_two_acts_and_the_second_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1))
    desk.take(act("one-1"))
    held(desk, act("two-1", made="2026-10-10T12:05:00+03:00"), "two acts for one place")


def test_a_number_that_is_taken_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1), point(2))
    desk.take(act())
    held(desk, act(point="kv2", account="10002", meter=device("m2", "00002")), "is the number of act")


def test_an_act_of_a_clock_far_ahead_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1))
    held(desk, act(made="2027-10-10T12:00:00+03:00"), "more than a day ahead")


def test_an_act_of_a_clock_behind_the_chain_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1))
    first = act()
    desk.take(first)
    late = act("2026-000002", first, kind="control_reading", made="2026-10-01T12:00:00+03:00",
               decision=ACCEPTED)  # fmt: skip
    held(desk, late, "before act 2026-000001")


def test_an_act_by_another_gateways_topic_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1))
    receipt = desk.take(act(), "gw-other")
    assert receipt.outcome == "held"
    assert "it came from gw-other" in receipt.reason


def test_another_account_than_the_registrys_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1))
    held(desk, act(account="99999"), "account: 99999 in the act, 10001 in the registry")


def test_a_name_that_differs_only_in_case_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1), point(2))
    held(desk, act(point="KV1"), "KV1 differs from kv1")


def test_a_meter_whose_name_differs_only_in_case_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1, meter="", serial_number="", profile="", gateway=""), point(2))
    held(desk, act(meter=device("M2", "00077")), "M2 differs from m2")


def test_a_profile_that_is_not_known_here_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1))
    held(desk, act(meter=device(profile="foo-meter")), "profile: foo-meter")


def test_a_ratio_that_changes_under_a_billed_point_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1))
    first = act()
    desk.take(first)
    held(desk, replacement("2026-000002", first, meter=device("m2", "00002", ratio=40)), "ratio: 40 in the act")


def test_an_act_that_admits_in_spite_of_grounds_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1))
    held(desk, act(seals=[]), "admitted in spite of seal-missing")


def test_an_edited_act_is_refused(desk: Desk) -> None:
    forged = {**as_data(act()), "account": "99999"}
    receipt = desk.take(forged)
    assert receipt.outcome == "refused"
    assert "was altered" in receipt.reason
    assert desk.acts.acts() == []


@pytest.mark.parametrize("odd", [None, [], "x", {}, {"number": 7, "point": ["kv1"]}, {"hash": 1.5}])
def test_what_is_no_act_is_refused(desk: Desk, odd: Any) -> None:
    assert desk.take(odd).outcome == "refused"


# ----------------------------------------------------------------------------- chains and corrections


def test_acts_that_come_in_the_wrong_order_are_taken_in_the_right_one(desk: Desk) -> None:
    bring(desk.engine, point(1))
    first = act()
    second = replacement("2026-000002", first)
    waiting = desk.take(second)
    assert (waiting.outcome, "not here yet" in waiting.reason) == ("held", True)
    assert desk.take(first).outcome == "taken"
    assert [state for _, state, _ in desk.acts.acts()] == ["taken", "taken"]
    assert [item[0] for item in desk.segments()] == ["m1", "m2"]


def test_a_correction_takes_the_place_of_readings_and_leaves_the_instant(desk: Desk) -> None:
    bring(desk.engine, point(1))
    typed = readings("190.90", "10.50")
    wrong = act(readings=[{**row, "wire_wh": None, "raw": None} for row in typed])
    assert desk.take(wrong).outcome == "taken"
    # What was read since speaks of the instant of the readings, and not of that of the correction.
    write(desk, "m1", "2026-10-11 12:00:00", {"1.8.1": 150_000, "1.8.2": 12_000})
    right = act("2026-000002", wrong, made="2026-10-12T09:00:00+03:00", supersedes=wrong.hash)
    assert desk.take(right).outcome == "taken"
    assert desk.segments() == [("m1", at("2026-10-10 12:00:00"), None, {"1.8.1": 100900, "1.8.2": 10500}, None)]
    again = act("2026-000003", right, made="2026-10-13T09:00:00+03:00", supersedes=wrong.hash)
    held(desk, again, "corrected already")


def test_a_correction_that_speaks_of_another_meter_is_held(desk: Desk) -> None:
    bring(desk.engine, point(1))
    first = act()
    desk.take(first)
    other = act(
        "2026-000002", first, made="2026-10-12T09:00:00+03:00", supersedes=first.hash, meter=device("m7", "00007")
    )
    held(desk, other, "another meter takes an act of its own")


# ----------------------------------------------------------------------------- ratios


def ratio_of(desk: Desk) -> Decimal | None:
    """The ratio by the act that hung the meter."""
    return desk.registry.segments()["kv1"][-1].ratio


def test_the_ratio_that_an_act_hung_a_meter_with_is_kept_beside_the_registrys(desk: Desk) -> None:
    bring(desk.engine, point(1))
    assert ratio_of(desk) is None
    assert desk.take(act(meter=device(ratio=40))).outcome == "taken"
    assert ratio_of(desk) == 40
    bring(desk.engine, point(1, ratio="30"), now=at("2026-10-15 00:00:00"))
    assert ratio_of(desk) == 40  # the month is held: which of the two is true, the registry cannot know


def test_a_later_act_about_another_ratio_takes_the_word_of_the_first(desk: Desk) -> None:
    first = act(meter=device(ratio=40))
    desk.take(first)
    bring(desk.engine, point(1, ratio="30", profile="abb-b23"), now=at("2026-10-15 00:00:00"))
    from_then = {"admitted": True, "grounds": [], "billing_from": "2026-10-16"}
    keys = {"kind": "reprogramming", "made": "2026-10-16T12:00:00+03:00", "decision": from_then}
    answer = desk.take(act("2026-000002", first, meter=device(ratio=30), **keys))
    assert (answer.outcome, answer.reason) == ("taken", "")
    assert ratio_of(desk) is None


# ----------------------------------------------------------------------------- what follows


def test_the_month_of_a_replacement_is_the_sum_of_both_meters(tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1, tariffs="2"))
    acts = ActStore(Registry(centre.engine), centre.store, ZONE)
    first = act()
    for item in (first, replacement("2026-000002", first)):
        assert acts.take(as_data(item), source="test", gateway=None, received=NOW).outcome == "taken"
    centre.month_of("m2", "2026-10", {"1.8.1": "31.0", "1.8.2": "5.0"})
    centre.close("2026-10")
    rows = {row["register"]: row for row in centre.billing("2026-10")}
    # 120 - 100 of the old meter and 31 - 5 of the new one; 15 - 10 and 5 - 1.
    assert {code: row["consumption_kwh"] for code, row in rows.items()} == {"1.8.1": "46", "1.8.2": "9"}
    assert {row["status"] for row in rows.values()} == {"ready"}


def test_a_point_that_an_act_opens_is_not_missing_in_the_months_before(tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(2))
    centre.month_of("m2", "2026-09", {"1.8.1": "1.0", "1.8.2": "1.0"})
    acts = ActStore(Registry(centre.engine), centre.store, ZONE)
    assert acts.take(as_data(act()), source="test", gateway=None, received=NOW).outcome == "taken"
    centre.month_of("m1", "2026-10", {"1.8.1": "110.0", "1.8.2": "11.0"})
    centre.close("2026-09")
    assert {row["point"] for row in centre.billing("2026-09")} == {"kv2"}
    centre.close("2026-10")
    assert {row["point"] for row in centre.billing("2026-10")} == {"kv1", "kv2"}


def test_where_an_act_is_required_only_an_admitted_one_makes_a_row_ready(tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1), point(2), require_act=True)
    for meter in ("m1", "m2"):
        centre.month_of(meter, "2026-09", {"1.8.1": "90.0", "1.8.2": "9.0"})
        centre.month_of(meter, "2026-10", {"1.8.1": "110.0", "1.8.2": "11.0"})
    acts = ActStore(Registry(centre.engine), centre.store, ZONE)
    assert acts.take(as_data(act()), source="test", gateway=None, received=NOW).outcome == "taken"
    centre.close("2026-10")
    status = {(row["point"], row["register"]): row["status"] for row in centre.billing("2026-10")}
    assert {key: value for key, value in status.items() if key[0] == "kv1"} == {
        ("kv1", "1.8.1"): "ready", ("kv1", "1.8.2"): "ready",
    }  # fmt: skip
    assert {value for key, value in status.items() if key[0] == "kv2"} == {"held"}


def test_meters_whose_verification_is_due_are_listed_and_replaced_ones_are_not(desk: Desk) -> None:
    bring(desk.engine, point(1), point(2))
    first = act(meter=device(verify_by="2026-11-20"))
    desk.take(first)
    desk.take(act("2026-000009", point="kv2", account="10002", meter=device("m2", "00002", verify_by="2027-11-20")))
    today = date(2026, 10, 25)
    assert [(due.meter, due.verify_by) for due in desk.acts.verification_due(today, 30)] == [("m1", "2026-11-20")]
    assert desk.acts.verification_due(today, 10) == []
    desk.take(replacement("2026-000002", first, meter=device("m3", "00003")))
    assert [due.meter for due in desk.acts.verification_due(today, 30)] == []


def test_seals_are_known_by_their_last_state(desk: Desk) -> None:
    bring(desk.engine, point(1))
    first = act()
    desk.take(first)
    off = act("2026-000002", first, kind="unsealing", made="2026-10-12T09:00:00+03:00",
              seals=[{**act().seals[0].model_dump(), "before": "broken", "after": "removed"}],
              decision=ACCEPTED)  # fmt: skip
    assert desk.take(off).outcome == "taken"
    with desk.engine.connect() as connection:
        states = connection.execute(select(tables.seal.c.number, tables.seal.c.state).order_by(tables.seal.c.id)).all()
    assert states == [("A123", "set"), ("A123", "removed")]


def test_the_registrys_log_names_the_act(desk: Desk) -> None:
    bring(desk.engine, point(1))
    desk.take(act())
    with desk.engine.connect() as connection:
        log = connection.execute(select(tables.registry_log.c.what).order_by(tables.registry_log.c.id.desc())).scalars()
        newest = json.loads(next(iter(log)))
    assert (newest["act"], newest["hash"]) == ("2026-000001", act().hash)


def test_fields_make_a_sound_act() -> None:
    assert fields()["readings"] == readings("100.90", "10.50")

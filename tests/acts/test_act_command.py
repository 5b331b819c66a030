"""`meterline act` in front of simulated meters: the wire, the answers, the gateway that lets go of its line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.acts.evidence import MOST
from collector.acts.folder import ActFolder
from collector.commands import act_making
from collector.commands.act_flags import given_answers, site_of
from collector.messages import open_envelope
from collector.model_act_chain import as_data, checked, sealed
from collector.outbox_beside import newest_payloads
from tests.acts.bench import ANSWERS, Stairwell, meter, run
from tests.broker import eventually

A, B = meter("4140001", 1_234_567), meter("5150002", 42_000)


@pytest.fixture
def stairwell(tmp_path: Path) -> Iterator[Stairwell]:
    with Stairwell(tmp_path, A).open() as it:
        yield it


def test_a_new_meter_is_read_admitted_and_added_to_the_gateways_configuration(stairwell: Stairwell) -> None:
    status, result = stairwell.act("new", **ANSWERS)
    assert status == 0, result.output
    made = stairwell.the_act()
    assert made.decision.admitted
    assert made.meter is not None
    assert made.meter.serial_number.wire == "4140001"
    energy = {it.register_: (it.wire_wh, it.display) for it in made.readings}
    assert energy["1.8.0"] == (1_234_567, "1234.56")
    assert made.checks["communication"] is made.checks["serial"] is made.checks["voltage"] is True
    added = (stairwell.folder / "gateway.d" / f"act-{made.number}.yaml").read_text()
    assert made.hash in added
    status, result = run("config", "check", str(stairwell.config))
    assert status == 0, result.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make an act in another user's folder")
def test_what_root_adds_can_be_read_by_the_gateways_own_user_whatever_the_umask(stairwell: Stairwell) -> None:
    os.chown(stairwell.folder, 12345, 12345)
    os.chown(stairwell.config, 12345, 12345)
    stairwell.config.chmod(0o640)
    before = os.umask(0o077)
    try:
        assert stairwell.act("new", **ANSWERS)[0] == 0
    finally:
        os.umask(before)
    (added,) = (stairwell.folder / "gateway.d").iterdir()
    found = added.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 12345, 0o640)
    folder = added.parent.stat()
    assert (folder.st_uid, folder.st_gid) == (12345, 12345)
    assert folder.st_mode & 0o777 == stairwell.folder.stat().st_mode & 0o777


def test_what_was_read_is_what_the_bytes_say(stairwell: Stairwell) -> None:
    stairwell.act("new", **ANSWERS)
    (raw,) = (it.raw for it in stairwell.the_act().readings if it.register_ == "1.8.0")
    import struct

    assert struct.unpack(">f", bytes.fromhex(raw or ""))[0] == pytest.approx(1234.567, abs=1e-3)


@pytest.mark.parametrize(
    ("changed", "ground"),
    [
        ({"plate": "9999999"}, "serial-mismatch"),
        ({"displays": {"1.8.0": "123456.7"}}, "display-mismatch"),
        ({"verify_by": "2026-01-01"}, "verification-overdue"),
        ({"seals": []}, "seal-missing"),
        ({"tariffs": "3", "displays": {"1.8.1": "1", "1.8.2": "1", "1.8.3": "1"}}, "register-count"),
        ({"no_wire": True}, "no-communication"),
        ({"checks": {"wiring": "no"}}, "wiring"),
        ({"wire_address": "9"}, "no-communication"),
        ({"registry_serial": "777"}, "serial-mismatch"),
    ],
)  # fmt: skip
def test_a_meter_with_a_ground_against_it_is_not_admitted(
    stairwell: Stairwell, changed: dict[str, object], ground: str | None
) -> None:
    status, result = stairwell.act("new", **{**ANSWERS, **changed})
    assert status == 5, result.output
    made = stairwell.the_act()
    assert not made.decision.admitted
    assert made.decision.billing_from is None
    assert ground in made.decision.grounds
    assert not (stairwell.folder / "gateway.d").exists()


def test_a_refusal_names_its_grounds(stairwell: Stairwell) -> None:
    status, result = stairwell.act("refuse", **{**ANSWERS, "grounds": ["damage", "no-access"]})
    assert status == 0, result.output
    made = stairwell.the_act()
    assert (made.kind, made.decision.grounds) == ("refusal", ("damage", "no-access"))


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [("verify_by", "soon", "YYYY-MM-DD"), ("tariffs", "7", "from 1 to 4"), ("displays", {"1.8.0": "12,3,4"}, "display"),
     ("point", "", "point"), ("address", "x" * 301, "300"), ("seals", ["A123"], "number;type;place"),
     ("profile", "unknown", "not known"), ("grounds", ["foo"], None), ("point", "a b", "a name is"),
     ("seals", ["A;" + "t" * 65 + ";p"], "1 to 64")],
)  # fmt: skip
def test_a_wrong_answer_of_a_script_is_named(stairwell: Stairwell, name: str, value: object, word: str | None) -> None:
    if word is None:
        status, result = stairwell.act("refuse", **{**ANSWERS, name: value})
    else:
        status, result = stairwell.act("new", **{**ANSWERS, name: value})
    assert status == 2
    assert (word or "foo") in result.output
    assert stairwell.acts() == {}


def test_answers_come_from_a_file_too_and_an_unknown_one_is_named(stairwell: Stairwell, tmp_path: Path) -> None:
    file = tmp_path / "answers.yaml"
    file.write_text(json.dumps({**ANSWERS, "checks": {"wiring": "yes"}}, ensure_ascii=False))
    status, result = stairwell.act("new", "--answers", str(file))
    assert status == 0, result.output
    assert stairwell.the_act().checks["wiring"] is True
    file.write_text("pont: kv1\n")
    status, result = stairwell.act("new", "--answers", str(file))
    assert status == 2
    assert "pont" in result.output


# ----------------------------------------------------------------------------- answers survive


class Battery(Exception):
    """It is empty."""


def technician(
    answers: dict[str, str], *, dies_after: int = 1000, at: Callable[[str], None] = lambda q: None
) -> act_making.Prompt:
    """Answers questions by their first words, the longest that fit; the battery dies after so many."""
    asked: list[str] = []

    def prompt(question: str, proposal: str | None) -> str:
        at(question)
        asked.append(question)
        if len(asked) > dies_after:
            raise Battery(question)
        for start, answer in sorted(answers.items(), key=lambda item: -len(item[0])):
            if question.startswith(start):
                return answer
        optional = "(" in question or question.startswith("Value on the display, kWh: m1")  # what may be left out
        assert proposal is not None or optional, question
        return proposal or ""

    return prompt


TYPED = {
    "Metering point": "kv1", "Account": "10001", "Address of": "1", "Address": "Lenina 12",
    "Where": "panel", "Meter id": "m1",
    "Meter profile": "eastron-sdm630", "Number of tariffs": "1", "Serial number on": "4140001",
    "Value on the display, kWh: m1 1.8.0": "1234.56", "Day of the last": "01.03.2025", "Day of the next": "2041-03-01",
    "The consumer": "absent", "The utility's": "Ivan, engineer",
}  # fmt: skip


def make(
    stairwell: Stairwell, kind: str, prompt: act_making.Prompt, monkeypatch: pytest.MonkeyPatch, **given: object
) -> None:
    monkeypatch.setattr(act_making, "_prompt", prompt)
    site = site_of(stairwell.config, "en", None)
    folder = ActFolder(stairwell.folder / "acts")
    act_making.begin(kind, site, given_answers(None, given), folder, ask=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("dies_after", [0, 3, 8, 13, 18])
def test_a_dead_battery_costs_no_answer(stairwell: Stairwell, monkeypatch: pytest.MonkeyPatch, dies_after: int) -> None:
    seal = {"Seal": "A1;sticker;cover"}
    once: list[str] = []

    def count(question: str) -> None:
        once.append(question)
        seal["Seal"] = "" if sum(q.startswith("Seal") for q in once) > 1 else "A1;sticker;cover"
        answers.update(seal)

    answers = {**TYPED, **seal}
    with pytest.raises(Battery):
        make(stairwell, "commissioning", technician(answers, dies_after=dies_after, at=count), monkeypatch)
    assert stairwell.acts() == {}
    (journal,) = ActFolder(stairwell.folder / "acts").unfinished()
    before = once[:-1]
    monkeypatch.setattr(act_making, "_prompt", technician(answers, at=count))
    act_making.go_on(journal, stairwell.config, ActFolder(stairwell.folder / "acts"), {}, ask=True)
    assert stairwell.the_act().decision.admitted
    assert not [question for question in before if once.count(question) > 1 and not question.startswith("Seal")]
    assert not journal.exists()


def test_a_half_written_answer_is_passed_over(tmp_path: Path) -> None:
    from collector.acts.journal import Journal

    path = tmp_path / "a.answers"
    journal = Journal(path)
    journal.put("point", "kv1")
    journal.put("account", "1")
    journal.close()
    os.truncate(path, path.stat().st_size - 3)
    again = Journal(path)
    assert again.answers == {"point": "kv1"}
    again.put("account", "2")
    again.close()
    assert Journal(path).answers == {"point": "kv1", "account": "2"}


# ----------------------------------------------------------------------------- replacement


def test_a_replacement_reads_the_old_meter_then_the_new_one_and_the_gateway_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Stairwell(tmp_path, A).open(("m1", A)) as stairwell, stairwell.gateway() as gateway:
        eventually(lambda: gateway.figures().values > 0)

        def swap(question: str) -> None:
            if question.startswith("The old meter is read"):
                assert gateway.figures().paused
                stairwell.hang(B)

        answers = {
            **TYPED, "Meter id": "m2", "Id of the meter": "m1", "Serial number on the name plate: m1": "4140001",
            "Serial number on the name plate: m2": "5150002", "Value on the display, kWh: m2": "42.0", "Reason": "worn",
        }  # fmt: skip
        prompt = technician(answers, at=swap)
        make(stairwell, "replacement", prompt, monkeypatch, seals=["A1;sticker;cover"])
        made = stairwell.the_act()
        assert made.decision.admitted
        assert made.old_meter is not None and made.meter is not None
        old = {it.register_: it.wire_wh for it in made.old_meter.readings}
        new = {it.register_: it.wire_wh for it in made.readings}
        assert (made.old_meter.meter.id, old["1.8.0"], made.old_meter.source) == ("m1", 1_234_567, "wire")
        assert (made.meter.id, new["1.8.0"]) == ("m2", 42_000)
        assert made.old_meter.read_at <= made.made
        eventually(lambda: (gateway.figures().meters["riser-1"].get("m2") or NOBODY).ok > 0)
        assert not gateway.figures().paused


class Nobody:
    ok = 0


NOBODY = Nobody()


def test_an_act_waits_in_the_spool_with_its_number_among_those_of_the_gateway(tmp_path: Path) -> None:
    with Stairwell(tmp_path, A).open() as stairwell:
        with stairwell.gateway():
            status, result = stairwell.act("new", **ANSWERS)
            assert status == 0, result.output
        envelopes = [open_envelope(payload) for payload in newest_payloads(tmp_path / "spool.db")]
        (found,) = [envelope.act for envelope in envelopes if envelope.act is not None]
        assert checked(found) == stairwell.the_act()
        sequences = [envelope.key.sequence for envelope in envelopes]
        assert sequences == list(range(len(sequences), 0, -1))


def test_an_act_that_could_not_be_queued_is_queued_later_and_once(stairwell: Stairwell) -> None:
    stairwell.act("new", **ANSWERS)  # no gateway ever ran: there is no spool
    with stairwell.gateway():
        pass
    for _ in range(2):
        status, result = run("act", "export", "--queue", "--config", str(stairwell.config))
        assert status == 0, result.output
    acts = [open_envelope(payload).act for payload in newest_payloads(stairwell.folder / "spool.db")]
    assert len([act for act in acts if act is not None]) == 1


def test_the_last_stored_reading_of_a_dead_meter_is_offered_and_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Stairwell(tmp_path, A).open(("m1", A)) as stairwell, stairwell.gateway() as gateway:
        eventually(lambda: gateway.unreceipted > 0)
        stairwell.kill()
        offered: list[str] = []

        def see(question: str) -> None:
            if "last stored reading" in question:
                offered.append(question)
            if question.startswith("The old meter is read"):
                stairwell.hang(B)

        answers = {
            **TYPED, "Meter id": "m2", "Id of the meter": "m1", "Serial number on the name plate: m1": "4140001",
            "Serial number on the name plate: m2": "5150002", "Value on the display, kWh: m2": "42.0", "Reason": "dead",
            "The meter that goes does not answer": "yes",
        }  # fmt: skip
        make(stairwell, "replacement", technician(answers, at=see), monkeypatch, seals=["A1;sticker;cover"])
        made = stairwell.the_act()
        assert offered and "1234.567" in offered[0]
        assert made.old_meter is not None
        assert made.old_meter.source == "stored"
        assert {it.register_: it.wire_wh for it in made.old_meter.readings}["1.8.0"] == 1_234_567
        assert made.decision.admitted


def test_a_dead_meter_of_which_nothing_is_stored_is_read_from_its_display(tmp_path: Path) -> None:
    with Stairwell(tmp_path, A).open(("m1", A)) as stairwell:
        stairwell.kill()
        point = {key: ANSWERS[key] for key in ("point", "account", "address", "place", "representative", "consumer")}
        status, result = stairwell.act("remove", **point, old_meter="m1", old_plate="4140001", reason="dead",
                                       old_displays={"1.8.0": "1234,5"})  # fmt: skip
        assert status == 0, result.output
        old = stairwell.the_act().old_meter
        assert old is not None
        assert (old.source, old.readings[0].wire_wh, old.readings[0].display) == ("display", None, "1234.5")


def test_a_silent_meter_is_asked_again_as_long_as_the_technician_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Stairwell(tmp_path, A).open() as stairwell:
        stairwell.kill()

        def plug_in(question: str) -> None:
            if question.startswith("The meter gives nothing"):
                stairwell.hang(A)

        prompt = technician({**TYPED, "The meter gives nothing": "yes"}, at=plug_in)
        make(stairwell, "commissioning", prompt, monkeypatch, seals=["A1;sticker;cover"])
        assert stairwell.the_act().decision.admitted


def test_the_wrong_meter_under_the_head_ends_a_replacement_before_anything_is_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Stairwell(tmp_path, B).open(("m1", A)) as stairwell:
        answers = {**TYPED, "Id of the meter": "m1", "Serial number on the name plate: m1": "4140001"}
        from collector.exits import UsageFault

        with pytest.raises(UsageFault, match="the meter under the head is not m1"):
            make(stairwell, "replacement", technician(answers), monkeypatch)
        assert stairwell.acts() == {}
        assert not (tmp_path / "gateway.d").exists()


def test_a_removal_ends_the_meter_in_the_gateways_configuration(tmp_path: Path) -> None:
    with Stairwell(tmp_path, A).open(("m1", A)) as stairwell:
        point = {key: ANSWERS[key] for key in ("point", "account", "address", "place", "representative", "consumer")}
        status, result = stairwell.act("remove", **point, old_meter="m1", old_plate="4140001", reason="demolished",
                                       seals=["A123;пломба;крышка;broken"])  # fmt: skip
        assert status == 0, result.output
        made = stairwell.the_act()
        assert made.meter is None
        assert made.seals[0].before == "broken"
        (change,) = (tmp_path / "gateway.d").iterdir()
        assert "ended" in change.read_text()


def test_a_change_that_the_gateway_would_refuse_is_not_left_behind(tmp_path: Path) -> None:
    with Stairwell(tmp_path, A).open(("m9", meter("777", 1))) as stairwell:
        status, result = stairwell.act("new", **ANSWERS)  # address 1 is m9's
        assert status == 0, result.output
        assert "шлюз не принял бы такую запись" in result.output
        assert list((tmp_path / "gateway.d").iterdir()) == []


# ----------------------------------------------------------------------------- the folder


def test_each_kind_can_be_made_and_follows_the_one_before(stairwell: Stairwell) -> None:
    assert stairwell.act("new", **ANSWERS)[0] == 0
    rest = {"point": "kv1", "plate": "4140001", "representative": "И", "consumer": "П. П. Петров"}
    display = {"displays": {"1.8.0": "1234.5"}}
    for command, more in (
        ("control", display), ("unseal", {"seals": ["A123;пломба;крышка;intact"]}),
        ("reprogram", {**display, "note": "новое тарифное расписание"}), ("seal", {"seals": ["B1;пломба;крышка"]}),
    ):  # fmt: skip
        status, result = stairwell.act(command, **{**rest, **more})
        assert status == 0, result.output
    acts = sorted(stairwell.acts().values(), key=lambda act: act.number)
    assert [act.kind for act in acts] == ["commissioning", "control_reading", "unsealing", "reprogramming", "sealing"]
    assert [act.previous for act in acts] == [None, *(act.hash for act in acts[:-1])]
    assert run("act", "verify", "--config", str(stairwell.config))[0] == 0


def test_an_edited_act_is_found_offline(stairwell: Stairwell) -> None:
    stairwell.act("new", **ANSWERS)
    (path,) = (stairwell.folder / "acts").glob("*.json")
    path.write_bytes(path.read_bytes().replace(b'"10001"', b'"10002"'))
    status, result = run("act", "verify", "--config", str(stairwell.config))
    assert status == 5
    assert "was altered" in result.output
    assert run("act", "verify", str(path))[0] == 5


def test_a_photo_is_bound_and_a_changed_one_is_found(stairwell: Stairwell, tmp_path: Path) -> None:
    photo = tmp_path / "plate.jpg"
    photo.write_bytes(os.urandom(3 << 20))
    assert stairwell.act("new", **{**ANSWERS, "photos": [str(photo)]})[0] == 0
    (copy,) = (stairwell.folder / "acts").glob("*/plate.jpg")
    assert copy.read_bytes() == photo.read_bytes()
    assert run("act", "verify", "--config", str(stairwell.config))[0] == 0
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    status, result = run("act", "verify", "--config", str(stairwell.config))
    assert (status, "was changed" in result.output) == (5, True)


def test_a_photo_of_50_mb_is_refused_and_costs_no_answer(stairwell: Stairwell, tmp_path: Path) -> None:
    photo = tmp_path / "plate.jpg"
    with photo.open("wb") as file:
        file.truncate(50_000_000)
    assert photo.stat().st_size > MOST
    status, result = stairwell.act("new", **{**ANSWERS, "photos": [str(photo)]})
    assert status == 2
    assert "at most 20 MiB" in result.output
    assert stairwell.acts() == {}
    photo.write_bytes(b"smaller")
    status, result = run("act", "resume", "--config", str(stairwell.config), "--no-input")
    assert status == 0, result.output
    assert [item.name for item in stairwell.the_act().evidence] == ["plate.jpg"]


def test_an_answer_can_be_given_anew(stairwell: Stairwell, tmp_path: Path) -> None:
    status, _ = stairwell.act("new", **{key: value for key, value in ANSWERS.items() if key != "consumer"})
    assert status == 2
    answers = tmp_path / "more.yaml"
    answers.write_text("consumer: absent\nplace: cellar\n")
    status, result = run("act", "resume", "--config", str(stairwell.config), "--no-input", "--anew", "place",
                         "--answers", str(answers))  # fmt: skip
    assert status == 0, result.output
    assert stairwell.the_act().place == "cellar"


def test_a_signed_scan_is_laid_beside_and_bound(stairwell: Stairwell, tmp_path: Path) -> None:
    stairwell.act("new", **ANSWERS)
    number = stairwell.the_act().number
    scan = tmp_path / "signed.pdf"
    scan.write_bytes(b"%PDF-1.7 signed")
    folder = str(stairwell.folder / "acts")
    assert run("scan", number, str(scan), "--folder", folder)[0] == 0
    assert run("act", "verify", "--folder", folder)[0] == 0
    (stairwell.folder / "acts" / number / "signed.pdf").write_bytes(b"%PDF-1.7 forged")
    assert run("act", "verify", "--folder", folder)[0] == 5


def test_a_computer_whose_clock_runs_behind_the_chain_makes_no_act(stairwell: Stairwell) -> None:
    stairwell.act("new", **ANSWERS)
    made = stairwell.the_act()
    future = as_data(made) | {"number": "x-1", "made": "2099-01-01T00:00:00+03:00", "previous": made.hash}
    ActFolder(stairwell.folder / "acts").add(sealed({key: value for key, value in future.items() if key != "hash"}))
    status, result = stairwell.act("control", point="kv1", plate="4140001", representative="И", consumer="absent",
                                   displays={"1.8.0": "1234.5"})  # fmt: skip
    assert status == 2
    assert "the clock is wrong" in result.output


def test_a_correction_keeps_what_the_meter_said_and_changes_what_a_person_typed(stairwell: Stairwell) -> None:
    assert stairwell.act("new", **{**ANSWERS, "displays": {"1.8.0": "1234.5"}, "verify_by": "2042-03-01"})[0] == 0
    wrong = stairwell.the_act()
    stairwell.kill()  # nobody need stand in front of it
    status, result = stairwell.act("new", **ANSWERS, supersedes=wrong.number)
    assert status == 0, result.output
    right = next(act for act in stairwell.acts().values() if act.number != wrong.number)
    assert (right.supersedes, right.previous) == (wrong.hash, wrong.hash)
    assert right.readings[0].wire_wh == wrong.readings[0].wire_wh
    assert right.meter is not None and right.meter.verify_by == "2041-03-01"


def test_list_show_and_schema(stairwell: Stairwell) -> None:
    stairwell.act("new", **ANSWERS)
    made = stairwell.the_act()
    status, result = run("act", "list", "--config", str(stairwell.config), "--format", "json")
    assert (status, json.loads(result.stdout)[0]["hash"]) == (0, made.hash)
    status, result = run("act", "show", made.number, "--config", str(stairwell.config))
    assert json.loads(result.stdout) == as_data(made)
    import jsonschema

    status, result = run("act", "schema")
    validator = jsonschema.Draft202012Validator(json.loads(result.stdout))
    validator.validate(as_data(made))
    assert list(validator.iter_errors({**as_data(made), "kind": "gift"}))

"""Messages: equal ones have equal bytes, sound ones come back as they were, unsound ones are judged layer by layer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from collector.messages import (
    MAX_PAYLOAD,
    BadSnapshot,
    Key,
    MessageFault,
    SentSnapshot,
    decode_batch,
    decode_receipt,
    decode_status,
    encode,
    open_envelope,
    parse_topic,
    readings_topic,
    receipt_topic,
    split,
    tombstone,
)
from collector.model import Batch, Receipt, Snapshot, Status

CONTRACT = Path(__file__).resolve().parents[2] / "docs" / "contract.md"
KEY = Key("gw-lenina-12", "b7e3c1d09a44", 17)
ASKED = 1793479500120


def snapshot(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "meter": "lenina-12-001", "profile": "eastron-sdm630", "purpose": "interval", "asked": ASKED,
        "registers": {"1.8.0": 1592260},
    }  # fmt: skip
    return plain | changes


def batch(*snapshots: Any, **changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "schema": 1, "gateway": KEY.gateway, "spool": KEY.spool, "sequence": KEY.sequence, "class": "interval",
        "zone": "Europe/Moscow", "synced": True, "profiles": {"eastron-sdm630": "sha256:00"},
        "snapshots": list(snapshots),
    }  # fmt: skip
    return plain | changes


def as_bytes(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


def the_bad_one(payload: bytes) -> BadSnapshot:
    """The only bad snapshot of a sound envelope, which also holds a good one that is still there."""
    envelope = open_envelope(payload)
    assert envelope.key == KEY
    assert envelope.snapshots is not None
    kinds = [type(found) for found in envelope.snapshots]
    assert sorted(kinds, key=str) == sorted([BadSnapshot, dict], key=str)
    return next(found for found in envelope.snapshots if isinstance(found, BadSnapshot))


# ----------------------------------------------------------------------------- the published examples


def examples() -> list[str]:
    blocks = re.findall(r"```json\n(.*?)```", CONTRACT.read_text(), re.S)
    (block,) = (text for text in blocks if '"stored": true' in text)
    found, decoder = [], json.JSONDecoder()
    while block := block.lstrip():
        _, end = decoder.raw_decode(block)
        found.append(block[:end])
        block = block[end:]
    return found


def test_the_examples_of_the_contract_are_read_and_written_as_they_stand() -> None:
    kinds = []
    for text in examples():
        text = text.replace('"sha256": "…"', f'"sha256": "{"0f" * 32}"')
        kind = Status if '"online"' in text else Receipt if '"stored"' in text else Batch
        message = kind.model_validate_json(text)
        assert json.loads(encode(message)) == json.loads(text)
        kinds.append(kind)
        if isinstance(message, Batch):
            assert decode_batch(text.encode()) == message
            assert open_envelope(text.encode()).key == (message.gateway, message.spool, message.sequence)
    assert kinds == [Batch, Batch, Batch, Receipt, Receipt, Status]


# ----------------------------------------------------------------------------- laws

names = st.text("abXY019._-", max_size=12).map("g".__add__)
codes = st.builds("{}.{}.{}".format, *[st.integers(0, 255)] * 3)
months = st.builds("20{:02}-{:02}".format, st.integers(0, 99), st.integers(1, 12))
spools = st.integers(0, (1 << 48) - 1).map("{:012x}".format)
digests = st.integers(0, (1 << 256) - 1).map("{:064x}".format)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
millis = st.integers(0, 1 << 43)
registers = st.dictionaries(codes, st.integers(-5, 1 << 53), max_size=6)
kinds = st.sampled_from(["no-answer", "damaged", "refused", "stranger", "port", "profile", "skipped"])
snapshots = st.fixed_dictionaries(
    {"meter": names, "profile": names, "purpose": st.sampled_from(["interval", "boundary"]), "asked": millis},
    optional={
        "serial_number": texts,
        "answered": millis,
        "clock": texts,
        "registers": registers,
        "frozen": st.dictionaries(months, registers, max_size=3),
        "quantities": st.dictionaries(codes, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
        "raw": st.dictionaries(codes, st.binary(max_size=20).map(bytes.hex), max_size=3),
        "failure": st.fixed_dictionaries({"kind": kinds, "text": texts}),
    },
)
heads = {"gateway": names, "spool": spools, "sequence": st.integers(1, 1 << 53)}
tombstones = st.fixed_dictionaries({"snapshots": st.integers(0, 999), "from": millis, "to": millis})
acts = st.dictionaries(texts, st.none() | st.integers() | texts | st.lists(texts), max_size=4)
contents = st.one_of(
    st.fixed_dictionaries({"snapshots": st.lists(snapshots, max_size=4)}),
    st.fixed_dictionaries({"evicted": tombstones}),
    st.fixed_dictionaries({"act": acts}),
)
batches = st.builds(
    lambda head, content: Batch.model_validate(head | content),
    st.fixed_dictionaries(
        heads | {"class": st.sampled_from(["interval", "keep"])},
        optional={"zone": texts, "synced": st.booleans(), "profiles": st.dictionaries(names, texts, max_size=3)},
    ),
    contents,
)
receipts = st.builds(
    Receipt.model_validate,
    st.fixed_dictionaries(
        heads | {"sha256": digests, "stored": st.booleans()},
        optional={"code": st.sampled_from(["busy", "schema"]), "final": st.booleans(), "reason": texts},
    ),
)
counts = st.integers(0, 1 << 40)
shares = st.floats(0, 1)
spool_states = st.fixed_dictionaries(
    dict.fromkeys(("next", "unreceipted", "refused", "evicted"), counts)
    | {"id": spools, "fill": shares, "days_left": st.none() | shares, "damage": st.none() | texts}
)
statuses = st.builds(
    Status.model_validate,
    st.fixed_dictionaries(
        {"gateway": names, "online": st.booleans(), "at": millis, "version": texts},
        optional={
            "time_zone": texts,
            "synced": st.booleans(),
            "spool": spool_states,
            "lines": st.dictionaries(names, st.fixed_dictionaries({"meters": counts, "answering": counts}), max_size=2),
            "meters": st.dictionaries(names, st.fixed_dictionaries({"no-answer": counts, "last": millis}), max_size=2),
            "warnings": st.lists(texts, max_size=2),
        },
    ),
)


@given(batches)
def test_a_batch_comes_back_as_it_was(message: Batch) -> None:
    assert decode_batch(encode(message)) == message


@given(receipts)
def test_a_receipt_comes_back_as_it_was(message: Receipt) -> None:
    assert decode_receipt(encode(message)) == message


@given(statuses)
def test_a_status_comes_back_as_it_was(message: Status) -> None:
    assert decode_status(encode(message)) == message


@given(batches, st.randoms())
def test_equal_batches_have_equal_bytes_whatever_the_order_of_their_keys(message: Batch, random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            items = [(key, shuffled(inner)) for key, inner in value.items()]
            random.shuffle(items)
            return dict(items)
        return [shuffled(inner) for inner in value] if isinstance(value, list) else value

    again = Batch.model_validate(shuffled(json.loads(encode(message))))
    assert encode(again) == encode(message)


@given(batches)
def test_the_quick_way_and_the_closer_look_see_the_same(message: Batch) -> None:
    quick = encode(message)
    slow = b" " + json.dumps(json.loads(quick), separators=(", ", " : ")).encode()
    assert open_envelope(slow) == open_envelope(quick)


def test_nothing_that_is_absent_is_written() -> None:
    text = encode(Batch.model_validate(batch(snapshot(registers={}, serial_number=None)))).decode()
    assert "null" not in text and "{}" not in text and "serial_number" not in text


def test_synced_false_is_written() -> None:
    assert json.loads(encode(Batch.model_validate(batch(snapshot(), synced=False))))["synced"] is False


def test_an_act_passes_through_with_its_nulls() -> None:
    act: dict[str, Any] = {"old_meter": None, "checks": {}, "z": 1, "a": [None, {"n": None}]}
    data = {name: value for name, value in batch(act=act).items() if name != "snapshots"} | {"class": "keep"}
    message = decode_batch(as_bytes(data))
    assert json.loads(encode(message))["act"] == act


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_never_written(value: float) -> None:
    message = Batch.model_validate(batch(snapshot(quantities={"32.7.0": value})))
    with pytest.raises(ValueError, match="JSON compliant"):
        encode(message)


def test_a_tombstone_says_how_much_is_lost_and_from_when_to_when() -> None:
    assert json.loads(tombstone("gw-1")("b7e3c1d09a44", 12, 180, 1793300400120, 1793301300000)) == {
        "schema": 1, "gateway": "gw-1", "spool": "b7e3c1d09a44", "sequence": 12, "class": "interval",
        "evicted": {"snapshots": 180, "from": 1793300400120, "to": 1793301300000},
    }  # fmt: skip


# ----------------------------------------------------------------------------- no key: nobody to answer

UNREADABLE = {
    "nothing": b"",
    "not JSON": b"\x00\xff\xfe",
    "cut short": as_bytes(batch(snapshot()))[:-1],
    "a byte order mark": b"\xef\xbb\xbf" + as_bytes(batch(snapshot())),
    "UTF-16": as_bytes(batch(snapshot())).decode().encode("utf-16"),
    "an array": b"[]",
    "a number": b"17",
    "no gateway": as_bytes({"spool": KEY.spool, "sequence": 1}),
    "a gateway that would leave its topic": as_bytes(batch(gateway="gw/../x")),
    "a gateway with a line end": as_bytes(batch(gateway="gw-1\n")),
    "a gateway of lone surrogates": as_bytes(batch(gateway="gw\ud800")),
    "sequence 0": as_bytes(batch(sequence=0)),
    "sequence true": as_bytes(batch(sequence=True)),
    "sequence as text": as_bytes(batch(sequence="17")),
    "sequence 17.0": as_bytes(batch(sequence=17.0)),
    "sequence above 2^53": as_bytes(batch(sequence=(1 << 53) + 1)),
    "sequence of 5000 digits": as_bytes(batch()).replace(b":17,", b":" + b"9" * 5000 + b","),
    "two sequences": as_bytes(batch(snapshot())).replace(b'"sequence":17', b'"sequence":16,"sequence":17'),
    "100,000 levels of arrays": b"[" * 100_000 + b"]" * 100_000,
    "100,000 levels of objects": b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
    "10 MiB of nothing": b" " * (10 << 20),
    "10 MiB that open and never close": b"[" * (10 << 20),
    "more than is searched": as_bytes(batch(snapshot(clock="x" * (17 << 20)))),
}


@pytest.mark.parametrize("payload", UNREADABLE.values(), ids=UNREADABLE)
def test_without_a_readable_key_there_is_nobody_to_answer(payload: bytes) -> None:
    with pytest.raises(MessageFault) as fault:
        open_envelope(payload)
    assert fault.value.key is None
    assert str(fault.value)


# ----------------------------------------------------------------------------- a key in an unsound envelope

UNSOUND = {
    "another schema": batch(snapshot(), schema=2),
    "an unknown class": batch(snapshot(), **{"class": "urgent"}),
    "no content": {name: value for name, value in batch().items() if name != "snapshots"},
    "two contents": batch(snapshot(), evicted={"snapshots": 1, "from": 1, "to": 2}),
    "snapshots that are no list": batch(snapshots={"0": snapshot()}),
    "synced that is no boolean": batch(snapshot(), synced="yes"),
    "a zone of lone surrogates": batch(snapshot(), zone="\udc00"),
    "a tombstone without an end": batch(snapshots=None, evicted={"snapshots": 1, "from": 1}),
    "an act that is text": batch(snapshots=None, act="sealed"),
}  # fmt: skip


@pytest.mark.parametrize("data", UNSOUND.values(), ids=UNSOUND)
def test_a_readable_key_in_an_unsound_envelope_is_refused_for_good(data: dict[str, Any]) -> None:
    with pytest.raises(MessageFault) as fault:
        open_envelope(as_bytes(data))
    assert (fault.value.code, fault.value.key) == ("schema", KEY)
    assert str(fault.value)


@pytest.mark.parametrize(
    "twice", [('"zone":"Europe/Moscow"', '"zone":"UTC","zone":"Europe/Moscow"'), ('"class"', '"class":"keep","class"')]
)
def test_an_envelope_that_says_a_thing_twice_is_refused(twice: tuple[str, str]) -> None:
    payload = as_bytes(batch(snapshot())).decode().replace(*twice).encode()
    with pytest.raises(MessageFault, match="stands twice") as fault:
        open_envelope(payload)
    assert (fault.value.code, fault.value.key) == ("schema", KEY)


def test_an_act_nested_too_deep_is_refused() -> None:
    act: dict[str, Any] = {}
    for _ in range(50):
        act = {"a": act}
    with pytest.raises(MessageFault, match="nested deeper") as fault:
        open_envelope(as_bytes({name: value for name, value in batch(act=act).items() if name != "snapshots"}))
    assert fault.value.key == KEY


def test_a_batch_larger_than_256_kib_is_too_large_and_says_whose_it_is() -> None:
    def of_size(size: int) -> bytes:
        empty = len(as_bytes(batch(snapshot(clock=""), padding="")))
        return as_bytes(batch(snapshot(clock=""), padding="x" * (size - empty)))

    assert open_envelope(of_size(MAX_PAYLOAD)).key == KEY
    for size in (MAX_PAYLOAD + 1, 10 << 20):
        with pytest.raises(MessageFault, match=str(size)) as fault:
            open_envelope(of_size(size))
        assert (fault.value.code, fault.value.key) == ("too-large", KEY)


# ----------------------------------------------------------------------------- bad snapshots in a sound envelope

BAD = {
    "half a Wh": (snapshot(registers={"1.8.0": 1.5}), "registers.1.8.0"),
    "a float that is whole": (snapshot(registers={"1.8.0": 5.0}), "registers.1.8.0"),
    "a number as text": (snapshot(registers={"1.8.0": "5"}), "registers.1.8.0"),
    "true": (snapshot(registers={"1.8.0": True}), "registers.1.8.0"),
    "null": (snapshot(registers={"1.8.0": None}), "registers.1.8.0"),
    "a register that is no code": (snapshot(registers={"T1": 5}), "T1"),
    "no meter": ({"profile": "p", "purpose": "interval", "asked": 1}, "meter"),
    "an unknown purpose": (snapshot(purpose="audit"), "purpose"),
    "a time with a half": (snapshot(asked=1.5), "asked"),
    "a month that is none": (snapshot(frozen={"2026-13": {"1.8.0": 1}}), "2026-13"),
    "raw bytes that are not hex": (snapshot(raw={"1.8.0": "xyz"}), "raw"),
    "a lone surrogate": (snapshot(clock="\ud83d"), "surrogate"),
    "not an object": (17, "object"),
    "nothing": (None, "object"),
    "far too deep": (snapshot(extra=json.loads("[" * 500 + "]" * 500)), "nested deeper"),
}


@pytest.mark.parametrize(("bad", "word"), BAD.values(), ids=BAD)
def test_a_bad_snapshot_does_not_take_its_neighbours_with_it(bad: Any, word: str) -> None:
    for payload in (as_bytes(batch(bad, snapshot())), as_bytes(batch(snapshot(), bad))):
        found = the_bad_one(payload)
        assert word in found.reason
        assert json.loads(found.text) == bad


@pytest.mark.parametrize(
    ("sound", "damaged", "word"),
    [
        ('"registers":{"1.8.0":1592260}', '"registers":{"1.8.0":1592260,"1.8.0":9}', "'1.8.0' stands twice"),
        ('"asked":1793479500120', '"asked":1,"asked":1793479500120', "'asked' stands twice"),
        ('"registers":{', '"quantities":{"32.7.0":NaN},"registers":{', "not finite"),
        ('"registers":{', '"quantities":{"32.7.0":-Infinity},"registers":{', "not finite"),
        ('"registers":{', '"quantities":{"32.7.0":1e999},"registers":{', "not finite"),
        ('"registers":{', '"unknown":[NaN],"registers":{', "not finite"),
        ("1592260", "9" * 5000, "not finite"),
    ],
)
def test_json_that_two_readers_understand_differently_is_a_bad_snapshot(sound: str, damaged: str, word: str) -> None:
    other = snapshot(meter="lenina-12-002", registers={"1.8.0": 5}, asked=6)
    text = as_bytes(batch(snapshot(), other)).decode()
    assert text.count(sound) == (2 if sound == '"registers":{' else 1)
    found = the_bad_one(text.replace(sound, damaged, 1).encode())
    assert word in found.reason
    assert found.meter == "lenina-12-001"


def test_a_bad_snapshot_names_its_meter_and_time_where_they_can_be_read() -> None:
    found = the_bad_one(as_bytes(batch(snapshot(registers={"1.8.0": -0.5}), snapshot())))
    assert (found.meter, found.asked) == ("lenina-12-001", ASKED)
    found = the_bad_one(as_bytes(batch(snapshot(meter="../etc", asked=1 << 70), snapshot())))
    assert (found.meter, found.asked) == ("", None)


def test_values_beyond_any_meter_are_handed_on_for_the_checks_to_judge() -> None:
    huge = 1 << 70
    (found,) = open_envelope(as_bytes(batch(snapshot(registers={"1.8.0": huge, "2.8.0": -1})))).snapshots or ()
    assert not isinstance(found, BadSnapshot)
    assert found.get("registers") == {"1.8.0": huge, "2.8.0": -1}


SENT = TypeAdapter(SentSnapshot)


def asked_for(schema: dict[str, Any]) -> dict[str, Any]:
    """What a JSON schema asks for, without what it calls things and what it puts where nothing was sent."""
    kept = {name: part for name, part in schema.items() if name not in ("title", "default", "description", "$defs")}
    return {name: asked_for(part) if isinstance(part, dict) else part for name, part in kept.items()}


def test_what_is_sent_has_the_keys_and_the_bounds_of_the_model() -> None:
    sent, model = SENT.json_schema(), Snapshot.model_json_schema()
    of_failure = [schema["$defs"].pop(name) for schema, name in ((sent, "SentFailure"), (model, "Failure"))]
    assert asked_for(of_failure[0]) == asked_for(of_failure[1])
    assert [schema["properties"].pop("failure")["anyOf"][1] for schema in (sent, model)] == [{"type": "null"}] * 2
    assert asked_for(sent) == asked_for(model)


@given(snapshots, st.data())
def test_what_is_sent_is_taken_and_refused_as_the_model_would_and_says_the_same(
    given: dict[str, Any], data: st.DataObject
) -> None:
    junk = st.sampled_from([None, 5, -1, 1.5, True, "", "x" * 2000, [], ["no-parity"], ["x" * 33], {}, {"1.8.0": 5}])
    odd = data.draw(st.dictionaries(st.sampled_from(sorted(Snapshot.model_fields)), junk, max_size=2))
    text = json.dumps(given | odd)
    try:
        model = Snapshot.model_validate_json(text)
    except ValidationError as refused:
        with pytest.raises(ValidationError) as also:
            SENT.validate_json(text)
        places = [sorted(str(item["loc"]) for item in found.errors()) for found in (also.value, refused)]
        assert places[0] == places[1]
    else:
        assert Snapshot.model_validate(SENT.validate_json(text)) == model


def test_keys_of_a_newer_gateway_are_passed_over() -> None:
    newer = snapshot(firmware="3.1", failure={"kind": "damaged", "text": "x", "retries": 2})
    envelope = open_envelope(as_bytes(batch(newer, region="eu", profiles={"eastron-sdm630": "sha256:00"})))
    known = snapshot(failure={"kind": "damaged", "text": "x"})
    assert envelope.snapshots == (known,)


def test_a_strict_reading_refuses_a_batch_with_a_bad_snapshot() -> None:
    with pytest.raises(MessageFault, match="lenina-12-001") as fault:
        decode_batch(as_bytes(batch(snapshot(registers={"1.8.0": 0.5}))))
    assert fault.value.key == KEY


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_give_an_envelope_or_a_fault(payload: bytes) -> None:
    for opened in (open_envelope, decode_receipt, decode_status, decode_batch):
        try:
            opened(payload)
        except MessageFault as fault:
            assert len(str(fault)) <= 300


@given(batches, st.data())
def test_a_damaged_batch_gives_an_envelope_or_a_fault(message: Batch, data: st.DataObject) -> None:
    payload = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(payload) - 1))
        payload[place] = data.draw(st.sampled_from(b'"{}[]:,.0159eE-\\u\x00\xff tfn'))
    try:
        envelope = open_envelope(bytes(payload))
    except MessageFault:
        return
    for found in envelope.snapshots or ():
        if isinstance(found, BadSnapshot):
            assert found.reason
            json.loads(found.text)


# ----------------------------------------------------------------------------- receipts and statuses


@pytest.mark.parametrize("decode", [decode_receipt, decode_status])
@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"[1]", b'{"schema":1}', b"[" * 100_000, b'{"x":NaN}', b'{"x":1,"x":1}', b" " * (MAX_PAYLOAD + 1)],
    ids=["nothing", "empty", "array", "no key", "deep", "NaN", "twice", "too large"],
)
def test_a_receipt_or_status_that_is_none_is_a_fault(decode: Any, payload: bytes) -> None:
    with pytest.raises(MessageFault):
        decode(payload)


def test_a_receipt_or_status_that_two_readers_understand_differently_is_a_fault() -> None:
    head = '{"gateway":"gw-1","spool":"b7e3c1d09a44","sequence":1,"sha256":"' + "0" * 64 + '"'
    assert decode_receipt((head + ',"stored":false}').encode()).stored is False
    with pytest.raises(MessageFault, match="stands twice"):
        decode_receipt((head + ',"stored":false,"stored":true}').encode())
    line = '{"meters":1,"answering":1,"silent_share":0}'
    status = '{"gateway":"gw-1","online":true,"at":1,"version":"1","lines":{"a":' + line + "}}"
    assert decode_status(status.encode()).online
    with pytest.raises(MessageFault, match="not finite"):
        decode_status(status.replace('"silent_share":0', '"silent_share":NaN').encode())


# ----------------------------------------------------------------------------- cutting a pass


def keep(**changes: Any) -> Snapshot:
    return Snapshot.model_validate(snapshot(purpose="boundary", **changes))


@given(st.lists(snapshots.map(Snapshot.model_validate), max_size=30))
def test_a_pass_is_cut_by_class_and_nothing_is_lost(some: list[Snapshot]) -> None:
    groups = split(some)
    assert [found for group in groups for found in group.snapshots] == sorted(
        some, key=lambda one: one.batch_class != "keep"
    )
    for group in groups:
        assert {found.batch_class for found in group.snapshots} == {group.class_}
        assert group.first == min(found.asked for found in group.snapshots)
        assert group.last == max(found.asked for found in group.snapshots)
    assert len(groups) == len({found.batch_class for found in some})


@pytest.mark.parametrize(("profiles", "raw"), [(700, "ab" * 200), (1, "")], ids=["many profiles", "one profile"])
def test_a_long_pass_is_cut_below_256_kib_with_the_longest_names_there_can_be(profiles: int, raw: str) -> None:
    some = [
        keep(meter=f"{n:063d}", profile=f"{n % profiles:063d}", raw={"1.8.0": raw}, asked=n)
        for n in range(1200 if raw else 6000)
    ]
    groups = split(some)
    assert [found for group in groups for found in group.snapshots] == some
    sizes = []
    for group in groups:
        digests = {found.profile: "sha256:" + "f" * 64 for found in group.snapshots}
        head = {"gateway": "x" * 63, "spool": "f" * 12, "sequence": 1 << 53, "zone": "Z" * 64, "synced": False}
        whole = Batch.model_validate(head | {"class": group.class_, "profiles": digests, "snapshots": group.snapshots})
        sizes.append(len(encode(whole)))
        open_envelope(encode(whole))
    assert len(sizes) > 2
    assert max(sizes) <= MAX_PAYLOAD
    assert min(sizes[:-1]) > 0.9 * MAX_PAYLOAD  # and not in crumbs


def test_a_single_snapshot_that_is_too_large_loses_raw_bytes_and_keeps_its_values() -> None:
    heavy = keep(raw={"data": "ab" * 60_000, "more": "cd" * 50_000, "1.8.0": "ef" * 40_000}, asked=5)
    (group,) = split([heavy])
    (kept,) = group.snapshots
    assert set(kept.raw) == {"more", "1.8.0"}
    assert kept.registers == heavy.registers


# ----------------------------------------------------------------------------- topics


@given(names)
def test_a_topic_gives_back_its_gateway(gateway: str) -> None:
    assert parse_topic(readings_topic(gateway)) == (gateway, "readings")
    assert parse_topic(receipt_topic(gateway)) == (gateway, "receipt")


@pytest.mark.parametrize(
    "topic",
    ["", "meterline", "meterline/v1/gw", "meterline/v1//readings", "meterline/v2/gw/readings", "x/v1/gw/readings",
     "meterline/v1/gw/readings/x", "meterline/v1/gw/secrets", "meterline/v1/g+w/readings", "/meterline/v1/gw/readings"],
)  # fmt: skip
def test_a_topic_that_is_none_of_ours_is_refused(topic: str) -> None:
    with pytest.raises(ValueError, match="none of our topics"):
        parse_topic(topic)

"""gateway.yaml and central.yaml: every fault at once, with file, line, key and what would be right; and no secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.config import CentralConfig, GatewayConfig, check_file, kind_of, load_central, load_gateway
from collector.config_fields import milliseconds
from drivers.strict_yaml import ConfigError

PROFILE = """\
schema: 1
id: {id}
title: a meter for tests
protocol: modbus
source: invented
phases: 1
max_current: 60
line: {{baudrate: 9600, framing: 8E1, turnaround: 20ms, timeout: 500ms, source: invented}}
modbus: {{function: "03", word_order: big, most_registers: 60}}
serial: {serial}
registers:
  1.8.0: {{address: "0108", type: u32, unit: kWh, scale: 0.01}}
  32.7.0: {{address: "4000", type: u16, unit: V, scale: 0.1}}
proof:
- {{kind: computed, source: invented, request: "00", answer: "00", gives: {{1.8.0: "0.000"}}}}
"""

GATEWAY = """\
schema: 1
gateway: gw-1
time_zone: Europe/Moscow
interval: 15m
mqtt:
  url: mqtts://broker:8883
  username: gw-1
  password_file: password
  ca_file: ca.pem
spool: {path: spool.db, max_mb: 512, keep: 40d}
lines:
  - name: riser-1
    port: /dev/ttyUSB0
    baudrate: 9600
    framing: 8N1
    silent_share: 0.05
    meters:
      - {id: m-1, profile: with.yaml, address: 010, serial_number: 00123456}
      - id: m-2
        profile: without.yaml
        address: "11"
        serial_number: null
        baudrate: 19200
        framing: 8E1
        interval: 1h
        quantities: [32.7.0]
"""

CENTRAL = """\
schema: 1
data: ./data
time_zone: Europe/Moscow
mqtt: {url: "mqtt://127.0.0.1", username: centre, password_file: password}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "with.yaml").write_text(PROFILE.format(id="with", serial='{address: "0000", type: u32}'))
    (tmp_path / "without.yaml").write_text(PROFILE.format(id="without", serial="none"))
    (tmp_path / "password").write_text("geheim\nsecond line\n")
    (tmp_path / "password").chmod(0o600)
    (tmp_path / "ca.pem").write_text("any")
    return tmp_path


def gateway(folder: Path, text: str = GATEWAY) -> GatewayConfig:
    (folder / "gateway.yaml").write_text(text)
    return load_gateway(folder / "gateway.yaml")


def central(folder: Path, text: str = CENTRAL) -> CentralConfig:
    (folder / "central.yaml").write_text(text)
    return load_central(folder / "central.yaml")


def faults(folder: Path, text: str, load: Any = gateway) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return [fault.replace(f"{folder}/", "") for fault in caught.value.faults]


def changed(old: str, new: str, text: str = GATEWAY) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


# ----------------------------------------------------------------------------- what a sound file means


def test_a_sound_file_is_complete_and_typed(folder: Path) -> None:
    config = gateway(folder)
    assert (config.gateway, config.time_zone, config.interval, config.warnings) == (
        "gw-1", "Europe/Moscow", 900_000, (),
    )  # fmt: skip
    assert config.spool.path == folder / "spool.db"
    assert (config.spool.max_mb, config.spool.keep) == (512, 40 * 86_400_000)
    (line,) = config.lines
    assert (line.name, line.port, line.silent_share) == ("riser-1", "/dev/ttyUSB0", 0.05)
    one, two = line.meters
    assert (one.id, one.address, one.serial_number, one.profile.id) == ("m-1", "10", "00123456", "with")
    assert (one.baudrate, one.framing, one.interval, one.quantities) == (9600, "8N1", 900_000, ())
    assert (two.address, two.serial_number, two.baudrate, two.framing) == ("11", None, 19200, "8E1")
    assert (two.interval, two.quantities, two.meter_time) == (3_600_000, ("32.7.0",), "local")


def test_a_line_without_speed_has_that_of_the_profile(folder: Path) -> None:
    config = gateway(folder, changed("    baudrate: 9600\n    framing: 8N1\n", ""))
    one, two = config.lines[0].meters
    assert (one.baudrate, one.framing) == (9600, "8E1")
    assert (two.baudrate, two.framing) == (19200, "8E1")


def test_a_relative_path_is_relative_to_the_file_also_from_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "gateway.yaml").write_text(GATEWAY)
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder / "sub")
    config = load_gateway(Path("../gateway.yaml"))
    assert config.mqtt.password() == "geheim"
    assert config.spool.path.is_absolute()
    assert config.spool.path.resolve() == folder / "spool.db"


def test_a_central_file_is_complete_and_typed(folder: Path) -> None:
    config = central(folder)
    assert (config.data, config.out, config.time_zone) == (folder / "data", folder / "data/out", "Europe/Moscow")
    assert (config.database.url, config.store.influxdb, config.require_act) == ("sqlite", None, False)
    assert config.spool.keep == 60 * 86_400_000
    assert config.mqtt.password() == "geheim"


def test_a_central_file_may_name_postgresql_and_influxdb(folder: Path) -> None:
    more = (
        "database: {url: postgresql+psycopg://user@host:5432/meterline, password_file: password}\n"
        "store: {influxdb: {url: 'http://127.0.0.1:8086', org: o, bucket: b, token_file: password, timeout: 5s}}\n"
        "require_act: true\nout: /srv/out\nspool: {keep: 7d}\n"
    )
    config = central(folder, CENTRAL + more)
    assert config.database.url == "postgresql+psycopg://user@host:5432/meterline"
    assert config.database.password() == "geheim"
    assert config.store.influxdb is not None
    assert (config.store.influxdb.timeout, config.store.influxdb.token()) == (5000, "geheim")
    assert (config.require_act, config.out, config.spool.keep) == (True, Path("/srv/out"), 7 * 86_400_000)
    assert central(folder, CENTRAL + "database: sqlite\nstore: embedded\n").store.influxdb is None


@given(st.integers(0, 999_999), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: str) -> None:
    assert milliseconds(f"{number:07d}{unit}") == number * milliseconds(f"1{unit}")


def test_a_file_is_known_by_its_content(folder: Path) -> None:
    gateway(folder)
    central(folder)
    assert isinstance(check_file(folder / "gateway.yaml"), GatewayConfig)
    assert isinstance(check_file(folder / "central.yaml"), CentralConfig)
    for text, right in [
        ("meters: []\n", "gateway.d/"), ("a: 1\n", "neither"), ("", "neither"), ("- a\n", "neither")
    ]:  # fmt: skip
        (folder / "x.yaml").write_text(text)
        with pytest.raises(ConfigError, match=right):
            kind_of(folder / "x.yaml")


# ----------------------------------------------------------------------------- faults, one at a time

FAULTS = [
    ("schema: 1", "schema: 2", "1: schema: ", "from 1 to 1"),
    ("gateway: gw-1", "gateway: gw/1", "2: gateway: ", "a name is 1 to 63"),
    ("gateway: gw-1\n", "", "1: gateway: ", "is required"),
    ("time_zone: Europe/Moscow", "time_zone: Moscow", "3: time_zone: ", "expected an IANA name"),
    ("interval: 15m", "interval: 15", "4: interval: ", "a duration is a whole number and its unit"),
    ("interval: 15m", "interval: 4s", "4: interval: ", "from 5s to 1d"),
    ("interval: 15m", "interval: 2d", "4: interval: ", "from 5s to 1d"),
    ("interval: 15m", "intervall: 15m", "4: intervall: ", "unknown key; is interval meant?"),
    ("  username: gw-1", "  user: gw-1", "7: mqtt.user: ", "unknown key; is username meant?"),
    ("mqtts://broker:8883", "amqps://broker", "6: mqtt.url: ", "mqtts://host:8883"),
    ("mqtts://broker:8883", "mqtts://broker:x", "6: mqtt.url: ", "mqtts://host:8883"),
    ("mqtts://broker:8883", "mqtts://broker/path", "6: mqtt.url: ", "mqtts://host:8883"),
    ("mqtts://broker:8883", "mqtts://", "6: mqtt.url: ", "mqtts://host:8883"),
    ("mqtts://broker:8883", "mqtt://broker", "9: mqtt.ca_file: ", "not encrypted"),
    ("password_file: password", "password_file: nowhere", "8: mqtt.password_file: ", "cannot be read"),
    ("password_file: password", "password: geheim", "8: mqtt.password: ", "is password_file meant?"),
    ("ca_file: ca.pem", "ca_file: nowhere.pem", "9: mqtt.ca_file: ", "not a file that can be read"),
    ("ca_file: ca.pem", "cert_file: ca.pem", "9: mqtt.cert_file: ", "key_file is missing"),
    ("ca_file: ca.pem", "key_file: ca.pem", "9: mqtt.key_file: ", "cert_file is missing"),
    ("ca_file: ca.pem", "protocol: 4", "9: mqtt.protocol: ", "one of auto, 5, 3.1.1"),
    ("max_mb: 512", "max_mb: 0x10", "10: spool.max_mb: ", "a decimal whole number"),
    ("max_mb: 512", "max_mb: 0", "10: spool.max_mb: ", "a decimal whole number"),
    ("keep: 40d", "keep: 40", "10: spool.keep: ", "a duration"),
    ("keep: 40d", "keep: [40d]", "10: spool.keep: ", "not a list"),
    ("path: spool.db", "path: {a: b}", "10: spool.path: ", "the path of a file"),
    ("spool: {path: spool.db, max_mb: 512, keep: 40d}", "spool: here", "10: spool: ", "a mapping of keys"),
    ("name: riser-1", "name: -x", "12: lines.0.name: ", "a name is 1 to 63"),
    ("port: /dev/ttyUSB0", "port: COM1", "13: lines.0.port: ", "a port is a device"),
    ("port: /dev/ttyUSB0", "port: tcp://host", "13: lines.0.port: ", "a port is a device"),
    ("port: /dev/ttyUSB0", "port: tcp://host:70000", "13: lines.0.port: ", "a port is a device"),
    ("    baudrate: 9600", "    baudrate: 9601", "14: lines.0.baudrate: ", "one of 300,"),
    ("    framing: 8N1", "    framing: 8n1", "15: lines.0.framing: ", "8N1, 8E1, 7E1"),
    ("silent_share: 0.05", "silent_share: 5", "16: lines.0.silent_share: ", "from 0 to 1"),
    ("silent_share: 0.05", "silent_share: 1e-1", "16: lines.0.silent_share: ", "from 0 to 1"),
    ("silent_share: 0.05", "silent_share: 0..5", "16: lines.0.silent_share: ", "from 0 to 1"),
    ("id: m-1", "id: M-2", "19: lines.0.meters.1.id: ", "'m-2' stands at gateway.yaml:18 already"),
    ("id: m-2", "id: M-1", "19: lines.0.meters.1.id: ", "'M-1' stands at gateway.yaml:18 already"),
    ("profile: with.yaml", "profile: sdm-9999", "18: lines.0.meters.0.profile: ", "is not known; known are"),
    ("profile: with.yaml", "profile: nowhere.yaml", "18: lines.0.meters.0.profile: ", "cannot be read"),
    ("profile: with.yaml, ", "", "18: lines.0.meters.0.profile: ", "is required"),
    ("address: 010", "address: 0x0A", "18: lines.0.meters.0.address: ", "number from 1 to 247"),
    ("address: 010", "address: 248", "18: lines.0.meters.0.address: ", "number from 1 to 247"),
    ("address: 010", "address: 0", "18: lines.0.meters.0.address: ", "number from 1 to 247"),
    ("address: 010", "address: 011", "21: lines.0.meters.1.address: ", "address 11 is taken on this line by m-1"),
    (", serial_number: 00123456", "", "18: lines.0.meters.0.serial_number: ", "reads its serial number"),
    ("baudrate: 19200", "baudrate: fast", "23: lines.0.meters.1.baudrate: ", "one of 300,"),
    ("framing: 8E1", "framing: 7E1", "24: lines.0.meters.1.framing: ", "Modbus RTU needs eight data bits"),
    ("baudrate: 19200", "meter_time: summer", "23: lines.0.meters.1.meter_time: ", "local, standard, utc"),
    ("baudrate: 19200", "password_file: no", "23: lines.0.meters.1.password_file: ", "cannot be read"),
    ("quantities: [32.7.0]", "quantities: [31.7.0]", "26: lines.0.meters.1.quantities.0: ", "it has 32.7.0"),
    ("quantities: [32.7.0]", "quantities: [1.8.0]", "26: lines.0.meters.1.quantities.0: ", "carried anyway"),
    ("quantities: [32.7.0]", "quantities: [volt]", "26: lines.0.meters.1.quantities.0: ", "OBIS"),
    ("quantities: [32.7.0]", "quantities: 32.7.0", "26: lines.0.meters.1.quantities: ", "a list is wanted"),
    ("port: /dev/ttyUSB0", "port: socket://host:1", "19: lines.0.meters.1: ", "socket:// cannot switch"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "where", "right"), FAULTS, ids=[f"{new or old}" for old, new, _, _ in FAULTS])
def test_a_fault_is_named_with_file_line_key_and_what_would_be_right(
    folder: Path, old: str, new: str, where: str, right: str
) -> None:
    (fault,) = faults(folder, changed(old, new))
    assert fault.startswith(f"gateway.yaml:{where}"), fault
    assert right in fault


CENTRAL_FAULTS = [
    ("data: ./data\n", "", "1: data: ", "is required"),
    ("time_zone: Europe/Moscow", "time_zone: MSK+3", "3: time_zone: ", "IANA"),
    ("username: centre, ", "", "4: mqtt.password_file: ", "a password needs its username"),
    ("schema: 1", "database: mysql://x/y\nschema: 1", "1: database.url: ", "sqlite is wanted, or postgresql"),
    ("schema: 1", "database: {password_file: no}\nschema: 1", "1: database.password_file: ", "cannot be read"),
    ("schema: 1", "store: influx\nschema: 1", "1: store: ", "a mapping of keys is wanted here: influxdb"),
    ("schema: 1", "store: {influxdb: {url: x, org: o, bucket: b, token_file: password}}\nschema: 1",
     "1: store.influxdb.url: ", "http://127.0.0.1:8086"),
    ("schema: 1", "store: {influxdb: {url: 'http://h', org: o, bucket: b, token_file: no}}\nschema: 1",
     "1: store.influxdb.token_file: ", "cannot be read"),
    ("schema: 1", "require_act: yes\nschema: 1", "1: require_act: ", "true or false"),
    ("schema: 1", "lines: []\nschema: 1", "1: lines: ", "unknown key"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "where", "right"), CENTRAL_FAULTS, ids=[f"{new or old}" for old, new, _, _ in CENTRAL_FAULTS]
)
def test_a_fault_of_a_central_file_is_named_too(folder: Path, old: str, new: str, where: str, right: str) -> None:
    (fault,) = faults(folder, changed(old, new, CENTRAL), central)
    assert fault.startswith(f"central.yaml:{where}"), fault
    assert right in fault


def test_a_serial_number_that_nobody_can_compare_is_a_warning(folder: Path) -> None:
    (warning,) = gateway(folder, changed("serial_number: null", "serial_number: 5")).warnings
    assert "lines.0.meters.1.serial_number" in warning
    assert "knows no register" in warning


def test_all_faults_come_at_once_and_in_the_order_of_the_file(folder: Path) -> None:
    text = GATEWAY
    for old, new in [
        ("gateway: gw-1", "gateway: gw 1"),
        ("interval: 15m", "interval: fast"),
        ("  username: gw-1", "  usrname: gw-1"),
        ("ca_file: ca.pem", "ca_file: nowhere"),
        ("max_mb: 512", "max_mb: lots"),
        ("    baudrate: 9600", "    baudrate: 1"),
        ("profile: with.yaml", "profile: unknown"),
        ("id: m-1", "id: m-2"),
        ("quantities: [32.7.0]", "quantities: [31.7.0]"),
    ]:
        text = changed(old, new, text)
    found = faults(folder, text)
    assert [int(fault.split(":")[1]) for fault in found] == [2, 4, 7, 9, 10, 14, 18, 19, 26]


def test_a_wire_has_one_line_and_a_line_one_name(folder: Path) -> None:
    link = folder / "by-id"
    link.symlink_to("/dev/ttyUSB0")
    more = f"  - {{name: Riser-1, port: {link}}}\n  - {{name: S, port: 'tcp://A:502'}}\n"
    more += "  - {name: s, port: 'tcp://a:502'}\n"
    found = faults(folder, GATEWAY + more)
    assert [fault.split(": ")[:2] for fault in found] == [
        ["gateway.yaml:27", "lines.1.name"], ["gateway.yaml:27", "lines.1.port"], ["gateway.yaml:29", "lines.3.name"],
        ["gateway.yaml:29", "lines.3.port"],
    ]  # fmt: skip
    assert "is the port of the line at gateway.yaml:13" in found[1]


def test_no_time_for_silent_meters_is_warned_of(folder: Path) -> None:
    (warning,) = gateway(folder, changed("silent_share: 0.05", "silent_share: 0.0")).warnings
    assert "gateway.yaml:16: lines.0.silent_share: " in warning


def test_one_address_may_be_on_two_lines(folder: Path) -> None:
    more = "  - name: r\n    port: /dev/ttyUSB1\n    meters: [{id: m-3, profile: without.yaml, address: 10}]\n"
    assert [len(line.meters) for line in gateway(folder, GATEWAY + more).lines] == [2, 1]


def test_a_tcp_device_may_have_the_addresses_that_tcp_reserves(folder: Path) -> None:
    text = changed("port: /dev/ttyUSB0", "port: tcp://host:502", changed("address: 010", "address: 255"))
    config = gateway(folder, text)
    assert config.lines[0].meters[0].address == "255"
    assert [warning.split(": ")[1] for warning in config.warnings] == ["lines.0.baudrate", "lines.0.framing"]


SHAPES = ["", "- a\n", "a", "null\n", "lines: {a: b}\n", "schema: 1\nlines: [a, 1, null]\n", "a: &x b\n", "\x07", "{"]
SHAPES += ["mqtt: []\nspool: 1\nlines: [{meters: [{id: []}, 5]}]\n"]


@pytest.mark.parametrize("text", SHAPES)
@pytest.mark.parametrize("load", [gateway, central])
def test_any_text_is_refused_in_words_and_crashes_nothing(folder: Path, text: str, load: Any) -> None:
    assert faults(folder, text, load)


SCALARS = st.text(st.sampled_from("abzAZ0189.:/-_ mqtspdh\\x@#"), max_size=12)
VALUES = st.recursive(
    st.none() | SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["schema", "gateway", "mqtt", "url", "spool", "path", "lines", "name", "port", "meters", "id", "profile",
         "address", "ended", "at", "line", "quantities", "serial_number", "framing", "database", "store", "influxdb"]
    ), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


def spell(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, list):
        return "[" + ", ".join(map(spell, value)) + "]"
    return "{" + ", ".join(f"{key}: {spell(item)}" for key, item in value.items()) + "}"


@given(VALUES)
def test_no_shape_of_a_file_crashes_the_check(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.mktemp("shape")
    for load in (gateway, central):
        with pytest.raises(ConfigError):
            load(folder, spell(value))


# ----------------------------------------------------------------------------- gateway.d


def test_files_of_gateway_d_add_and_end_meters(folder: Path) -> None:
    (folder / "gateway.d").mkdir()
    (folder / "gateway.d/1.yaml").write_text(
        "meters: [{line: riser-1, id: m-3, profile: with.yaml, address: 11, serial_number: 7}]\n"
        "ended: [{id: m-2, at: 2026-11-01T00:00:00Z}]\n"
    )
    (folder / "gateway.d/ignored.txt").write_text("not yaml: [")
    one, two, three = gateway(folder).lines[0].meters
    assert (one.ended, two.ended, three.ended) == (None, 1_793_491_200_000, None)
    assert (three.id, three.address, three.baudrate) == ("m-3", "11", 9600)


def test_faults_of_all_files_come_at_once(folder: Path) -> None:
    (folder / "gateway.d").mkdir()
    (folder / "gateway.d/a.yaml").write_text(
        "meters:\n"
        "- {line: riser-9, id: m-3, profile: without.yaml, address: 1}\n"
        "- {line: riser-1, id: M-1, profile: without.yaml, address: 2}\n"
        "- {line: riser-1, id: m-4, profile: without.yaml, address: 10}\n"
        "- {line: riser-1, id: m-5, profile: none, address: 3, baudrate: x}\n"
        "ended:\n"
        "- {id: nobody, at: 2026-11-01T00:00:00Z}\n"
        "- {id: m-2, at: today}\n"
        "- {id: m-2, at: 2026-11-01T00:00:00}\n"
    )
    (folder / "gateway.d/b.yaml").write_text("meters: [\n")
    (folder / "gateway.d/c.yaml").write_text("lines: []\n")
    found = faults(folder, changed("interval: 15m", "interval: 1"))
    assert [":".join(fault.split(":")[:3]) for fault in found] == [
        "gateway.yaml:4: interval",
        "gateway.d/a.yaml:2: meters.0.line",
        "gateway.d/a.yaml:3: meters.1.id",
        "gateway.d/a.yaml:4: meters.2.address",
        "gateway.d/a.yaml:5: meters.3.baudrate",
        "gateway.d/a.yaml:5: meters.3.profile",
        "gateway.d/a.yaml:7: ended.0.id",
        "gateway.d/a.yaml:8: ended.1.at",
        "gateway.d/a.yaml:9: ended.2.at",
        "gateway.d/a.yaml:9: ended.2.id",
        "gateway.d/b.yaml:2: not YAML",
        "gateway.d/c.yaml:1: lines",
    ]  # fmt: skip


def test_the_address_of_an_ended_meter_is_free_and_its_name_is_not(folder: Path) -> None:
    (folder / "gateway.d").mkdir()
    part = folder / "gateway.d/1.yaml"
    ended = "ended: [{id: m-2, at: 2026-11-01T00:00:00Z}]\n"
    part.write_text("meters: [{line: riser-1, id: m-3, profile: without.yaml, address: 11}]\n" + ended)
    assert len(gateway(folder).lines[0].meters) == 3
    part.write_text("meters: [{line: riser-1, id: m-2, profile: without.yaml, address: 12}]\n" + ended)
    (fault,) = faults(folder, GATEWAY)
    assert "'m-2' stands at" in fault


# ----------------------------------------------------------------------------- secrets


def test_the_first_line_of_a_password_file_is_the_password(folder: Path) -> None:
    for text, password in [("a b \r\nc", "a b "), ("ключ", "ключ")]:
        (folder / "password").write_text(text)
        assert gateway(folder).mqtt.password() == password
    for raw, right in [(b"", "first line is empty"), (b"\nx", "first line is empty"), (b"\xff", "not UTF-8")]:
        (folder / "password").write_bytes(raw)
        (fault,) = faults(folder, GATEWAY)
        assert right in fault


def test_a_password_that_everybody_can_read_is_warned_of(folder: Path) -> None:
    (folder / "password").chmod(0o644)
    (warning,) = gateway(folder).warnings
    assert "gateway.yaml:8: mqtt.password_file:" in warning
    assert "chmod 600" in warning


def test_no_secret_is_repeated(folder: Path) -> None:
    assert "geheim" not in repr(gateway(folder)) + repr(central(folder))
    for text in ("mqtt://gw:geheim@broker", "http://gw:geheim@broker/x"):
        (fault,) = faults(folder, changed("mqtts://broker:8883", text, changed("  ca_file: ca.pem\n", "")))
        assert "geheim" not in fault
        assert "username and password_file" in fault
    for text in ("postgresql+psycopg://u:geheim@h/n", "{url: postgresql+psycopg://u:geheim@h/n}", "x://u:geheim@h"):
        (fault,) = faults(folder, CENTRAL + f"database: {text}\n", central)
        assert "geheim" not in fault
        assert "password_file" in fault
    (fault,) = faults(folder, changed("password_file: password", "password: geheim"))
    assert "geheim" not in fault

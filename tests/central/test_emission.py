"""Emitted months on MQTT: what goes, in which order, what is told again, and a real broker that holds it."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import pytest

from collector.central.emission import EVERY, MONTHS, TOPIC, Emission, newest
from collector.central.rounds import Rounds
from collector.clock import SystemClock
from collector.messages import MAX_PAYLOAD
from collector.mqtt import Connection, Message, Settings
from tests.broker import Mosquitto, eventually


def emitted(out: Path, utility: str = "stes", period: str = "2026-10", revision: int = 1, size: int = 10) -> Path:
    folder = out / period / utility / f"r{revision}"
    (folder / "submissions").mkdir(parents=True)
    (folder / "billing.csv").write_bytes(b"b" * size)
    (folder / "submissions" / "sms.txt").write_bytes(b"434745456346*1111\n")
    files = [{"name": name} for name in ("billing.csv", "submissions/sms.txt")]
    (folder / "manifest.json").write_text(json.dumps({"revision": revision, "files": files}))
    return folder


class Broker:
    """Takes what is published, while it is connected and has room."""

    def __init__(self, room: int = 1000) -> None:
        self.connected, self.room = True, room
        self.told: list[tuple[str, bytes, bool]] = []

    def publish(self, topic: str, payload: bytes, retain: bool) -> bool:
        if len(self.told) >= self.room:
            return False
        self.told.append((topic, payload, retain))
        return True


def emission(out: Path, broker: Broker) -> Emission:
    return Emission(out, broker.publish, lambda: broker.connected)


def round_(telling: Emission) -> None:
    """One round of a service that goes on."""
    assert telling.round(1000, threading.Event()) == 1000 + EVERY


def test_a_months_files_go_as_they_are_and_the_manifest_last(tmp_path: Path) -> None:
    emitted(tmp_path)
    broker = Broker()
    round_(emission(tmp_path, broker))
    at = f"{TOPIC}/stes/2026-10"
    assert broker.told == [
        (f"{at}/billing.csv", b"b" * 10, True),
        (f"{at}/submissions/sms.txt", b"434745456346*1111\n", True),
        (f"{at}/manifest.json", (tmp_path / "2026-10" / "stes" / "r1" / "manifest.json").read_bytes(), True),
    ]


def test_what_is_not_in_the_manifest_is_not_told(tmp_path: Path) -> None:
    folder = emitted(tmp_path)
    (folder / ".~lock.billing.csv#").write_text("Olga")
    (folder / "submissions" / "sms (copy).txt").write_text("1*2\n")
    broker = Broker()
    round_(emission(tmp_path, broker))
    assert [topic.rsplit("/", 1)[1] for topic, _, _ in broker.told] == ["billing.csv", "sms.txt", "manifest.json"]


def test_what_is_told_is_not_told_again_until_there_is_a_new_revision_or_connection(tmp_path: Path) -> None:
    emitted(tmp_path)
    broker = Broker()
    telling = emission(tmp_path, broker)
    round_(telling)
    round_(telling)
    assert len(broker.told) == 3
    emitted(tmp_path, revision=10)
    round_(telling)
    assert json.loads(broker.told[-1][1])["revision"] == 10
    assert len(broker.told) == 6
    broker.connected = False
    round_(telling)
    broker.connected = True
    round_(telling)
    assert broker.told[6:] == broker.told[3:6]


def test_what_the_broker_did_not_take_is_told_whole_in_the_next_round(tmp_path: Path) -> None:
    emitted(tmp_path)
    broker = Broker(room=2)
    telling = emission(tmp_path, broker)
    round_(telling)
    broker.room = 1000
    round_(telling)
    assert [topic.rpartition("/")[2] for topic, _, _ in broker.told[2:]] == ["billing.csv", "sms.txt", "manifest.json"]


def test_nothing_is_told_any_more_when_the_service_is_to_stop(tmp_path: Path) -> None:
    emitted(tmp_path)
    broker, stop = Broker(), threading.Event()

    def publish(topic: str, payload: bytes, retain: bool) -> bool:
        stop.set()
        return broker.publish(topic, payload, retain)

    telling = Emission(tmp_path, publish, lambda: broker.connected)
    telling.round(1000, stop)
    assert len(broker.told) == 1
    round_(telling)
    assert [topic.rpartition("/")[2] for topic, _, _ in broker.told[1:]] == ["billing.csv", "sms.txt", "manifest.json"]


def test_a_file_larger_than_a_message_may_be_stays_in_its_folder(tmp_path: Path) -> None:
    emitted(tmp_path, size=MAX_PAYLOAD + 1)
    broker = Broker()
    round_(emission(tmp_path, broker))
    assert [topic.rpartition("/")[2] for topic, _, _ in broker.told] == ["sms.txt", "manifest.json"]


def test_drafts_and_old_months_are_not_told(tmp_path: Path) -> None:
    for month in range(1, 7):
        emitted(tmp_path, period=f"2026-{month:02d}")
    (tmp_path / "2026-06" / "stes" / ".r2").mkdir()
    found = list(newest(tmp_path))
    assert [period for _, period, _ in found] == ["2026-06", "2026-05", "2026-04"][:MONTHS]
    assert {folder.name for *_, folder in found} == {"r1"}


def test_a_broker_hands_the_month_to_who_comes_later(tmp_path: Path) -> None:
    folder = emitted(tmp_path / "out")
    with Mosquitto(tmp_path) as broker:
        centre = Connection(
            Settings(broker.url, client_id="centre"), subscriptions=[], on_message=lambda _: None, first_delay=0.05
        )
        centre.start()
        telling = Emission(tmp_path / "out", centre.publish, lambda: centre.connected)
        with Rounds("emission", telling.round, Quick(), failing="cannot be read", retry=50):
            heard: dict[str, str] = {}

            def hear(message: Message) -> None:
                heard[message.topic] = hashlib.sha256(message.payload).hexdigest()
                message.acknowledge()

            utility = Connection(
                Settings(broker.url, client_id="stes"), subscriptions=[f"{TOPIC}/stes/#"], on_message=hear,
                first_delay=0.05,
            )  # fmt: skip
            utility.start()
            eventually(lambda: len(heard) == 3, "the month is heard")
            utility.stop(1.0)
        centre.stop(1.0)
    assert (
        heard[f"{TOPIC}/stes/2026-10/billing.csv"] == hashlib.sha256((folder / "billing.csv").read_bytes()).hexdigest()
    )


class Quick(SystemClock):
    """Does not wait for ten seconds."""

    def wait(self, until: int, stop: object) -> bool:
        return super().wait(min(until, self.millis() + 50), stop)  # type: ignore[arg-type]  # the event, as it came


@pytest.mark.parametrize("name", ["", "notes", "2026-10.txt"])
def test_what_is_no_month_is_passed_over(name: str, tmp_path: Path) -> None:
    (tmp_path / name / "x").mkdir(parents=True)
    assert list(newest(tmp_path)) == []

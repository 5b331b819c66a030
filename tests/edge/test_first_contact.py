"""Nobody listens yet: what the broker says nobody heard is offered again soon, one batch at a time, and no faster."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.clock import SystemClock
from collector.edge.publisher import Custody, Publisher
from collector.edge.window import FIRST, MOST, SOON, Window
from collector.messages import READINGS_OF_ALL, receipt_topic
from collector.mqtt import Connection, Message, Settings
from collector.spool import Outbox
from tests.broker import Mosquitto, eventually
from tests.edge.test_publisher import GATEWAY, Bench, fill, opened, receipt, refusal

DIGEST = "0" * 64


class Deaf(Bench):
    """A broker (MQTT 5) at which nobody is subscribed until `heard` is set. It says so when `tells` is set."""

    def __init__(self, outbox: Outbox, *, tells: bool = True) -> None:
        super().__init__(outbox)
        self.heard = False
        self.tells = tells
        self.broker.publish = self.take  # type: ignore[method-assign]
        self.times: list[tuple[float, int]] = []

    def take(self, topic: str, payload: bytes, retain: bool = False, unheard: Callable[[], None] | None = None) -> bool:
        assert unheard is not None
        self.broker.taken.append(payload)
        if not self.heard and self.tells:
            unheard()
        return True

    def pass_by(self, seconds: int) -> None:
        """So many seconds, in which the publisher looks each second."""
        for _ in range(seconds):
            self.times += [(self.now, sequence) for sequence in self.sent(after=1)]


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Deaf]:
    with opened(tmp_path) as outbox:
        yield Deaf(outbox)


def test_the_first_contact_is_made_within_seconds_and_all_that_waits_goes_out(deaf: Deaf) -> None:
    entries = fill(deaf.outbox, 12)
    assert len(deaf.sent()) == MOST
    deaf.heard = True  # a moment later the centre has subscribed
    deaf.pass_by(int(SOON))
    assert [sequence for _, sequence in deaf.times] == [12], "one asks whether somebody listens now"
    deaf.receive(receipt(entries[11]))
    assert deaf.sent() == [11, 10, 9, 8, 7, 6, 5, 4], "the others were heard by nobody, so they wait for nothing"


def test_while_nobody_listens_one_batch_asks_ever_more_seldom_and_at_least_once_a_minute(deaf: Deaf) -> None:
    fill(deaf.outbox, 12)
    deaf.sent()
    deaf.pass_by(600)
    asked = [at for at, _ in deaf.times]
    waits = [b - a for a, b in itertools.pairwise([1000.0, *asked])]
    assert waits[:6] == [5, 10, 20, 40, 60, 60]
    assert set(waits[4:]) == {FIRST}
    assert {sequence for _, sequence in deaf.times} == {12}


def test_a_kept_batch_asks_first_and_no_sooner(deaf: Deaf) -> None:
    fill(deaf.outbox, 12)
    deaf.sent()
    fill(deaf.outbox, 1, "keep")
    deaf.pass_by(int(SOON) - 1)
    assert deaf.times == []
    deaf.pass_by(1)
    assert [sequence for _, sequence in deaf.times] == [13]


def test_a_new_connection_asks_at_once_with_one_batch(deaf: Deaf) -> None:
    fill(deaf.outbox, 12)
    deaf.sent()
    deaf.pass_by(200)
    deaf.custody.connected()
    assert deaf.sent(after=1) == [12]
    deaf.pass_by(10)
    assert [sequence for _, sequence in deaf.times[-1:]] == [12], "and soon again"
    assert deaf.times[-1][0] == deaf.now


def test_a_kept_batch_takes_no_place_of_another_while_nobody_is_asked(deaf: Deaf) -> None:
    deaf.tells = False
    fill(deaf.outbox, 7)
    deaf.sent()
    assert len(deaf.sent(after=FIRST)) == 7, "these were sent in vain, and still wait"
    deaf.tells = True
    fill(deaf.outbox, 1)
    assert deaf.sent(after=1) == [8]
    fill(deaf.outbox, 1, "keep")
    assert deaf.sent(after=1) == []
    assert deaf.sent(after=SOON) == [9]


@pytest.mark.parametrize("code", ["busy", "schema"])
def test_a_refusal_shows_as_well_that_somebody_listens(deaf: Deaf, code: str) -> None:
    entries = fill(deaf.outbox, 20)
    deaf.sent()
    deaf.heard = True
    assert deaf.sent(after=SOON) == [20]
    deaf.receive(refusal(entries[19], code))
    assert len(deaf.sent()) == MOST - (code == "busy")


def test_a_broker_that_says_nobody_and_is_wrong_costs_nothing(deaf: Deaf) -> None:
    entries = fill(deaf.outbox, 20)
    assert len(deaf.sent()) == MOST
    deaf.receive(receipt(entries[19]))
    assert deaf.sent() == [19, 18, 17, 16, 15, 14, 13, 12]


def test_a_receipt_about_nothing_we_hold_shows_nothing(deaf: Deaf) -> None:
    entries = fill(deaf.outbox, 20)
    deaf.sent()
    deaf.receive(receipt(entries[0]._replace(spool="another")))
    assert deaf.sent() == []


def test_a_broker_that_does_not_tell_is_given_its_minute(deaf: Deaf) -> None:
    deaf.tells = False
    fill(deaf.outbox, 3)
    assert deaf.sent() == [3, 2, 1]
    deaf.pass_by(59)
    assert deaf.times == []


def test_that_nobody_listens_is_said_until_somebody_does(deaf: Deaf, caplog: pytest.LogCaptureFixture) -> None:
    entries = fill(deaf.outbox, 3)
    deaf.sent()
    deaf.pass_by(300)
    assert "is the centre running" in deaf.custody.unheard
    assert sum("is the centre running" in record.message for record in caplog.records) == 1
    deaf.receive(receipt(entries[2]))
    assert deaf.custody.unheard == ""


def test_a_centre_that_subscribes_late_hears_a_gateway_by_a_real_broker(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, opened(tmp_path) as outbox:
        entry = fill(outbox, 1)[0]
        receipts = receipt_topic(GATEWAY)
        gateway = Connection(
            Settings(broker.url, client_id=GATEWAY),
            subscriptions=[receipts],
            on_message=lambda message: publisher.receipt(message.payload),
            on_change=lambda connected, why: publisher.connected() if connected else None,
        )
        custody = Custody(GATEWAY, outbox, gateway)
        publisher = Publisher(custody, SystemClock(), lambda: None)

        def take(message: Message) -> None:
            centre.publish(receipts, receipt(entry))
            message.acknowledge()

        centre = Connection(
            Settings(broker.url, client_id="centre"),
            subscriptions=[READINGS_OF_ALL],
            on_message=take,
        )
        publisher.start()
        gateway.start()
        try:
            eventually(lambda: custody.unheard, "it is known that nobody listens")
            centre.start()
            eventually(lambda: custody.counts.stored == 1)
            assert custody.counts.sent <= 6, "5 + 10 + 20 + 40 seconds are more than a test waits"
        finally:
            publisher.stop()
            gateway.stop()
            centre.stop()


# ----------------------------------------------------------------------------- the window's law


EVENTS = st.lists(
    st.tuples(st.sampled_from(["fill", "unheard", "over", "connected", "late"]), st.integers(1, 12), st.floats(0, 30)),
    max_size=100,
)


@given(EVENTS)
def test_between_two_words_of_the_centre_or_new_connections_those_heard_by_nobody_stay_few(
    events: list[tuple[str, int, float]],
) -> None:
    """At most a window of them, and then one in each pause, whatever the order in which the broker speaks."""
    window, now, sent = Window(), 0.0, list[float]()
    known_deaf = False
    for event, number, passed in events:
        now += passed
        key = ("spool", number)
        match event:
            case "fill":
                for sequence in [n for n in range(1, 13) if ("spool", n) not in window.keys][: window.free(now)]:
                    window.sent(("spool", sequence), DIGEST, kept=False, now=now)
                    if known_deaf:
                        sent.append(now)
            case "unheard":
                held = key in window.keys
                window.unheard(key)
                known_deaf = known_deaf or held
                assert key not in window.keys
            case "over":
                window.over(key)
            case "connected":
                window.connected()
                sent.clear()
            case _:
                window.answered()
                known_deaf = False
                sent.clear()
        assert len(window) <= MOST
        assert all(b - a >= SOON for a, b in itertools.pairwise(sent))

"""A hundred gateways that come back with a backlog and read on: each with the eight batches of its window under way.

The rules of collector/edge/window.py and of the gateway's spool (new before old) on payloads made before, since a
hundred daemons and their spools would measure this computer. Twenty connections stand for their hundred.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from collector.edge.window import MOST
from collector.messages import readings_topic, receipt_topic
from collector.mqtt import Connection, Message, Settings

CONNECTIONS = 20
NOTHING_TO_DO = 0.002  # seconds


class Due(NamedTuple):
    """A batch of a gateway."""

    sequence: int
    payload: bytes


class Gateway:
    """What one of them holds and has under way."""

    def __init__(self, name: str, backlog: Sequence[Due]) -> None:
        self.name = name
        self.live: deque[Due] = deque()
        self.backlog = deque(backlog)
        self.waiting: set[int] = set()

    @property
    def idle(self) -> bool:
        return not (self.live or self.backlog or self.waiting)

    def step(self, connection: Connection) -> bool:
        """Send one batch if the window and the connection allow; whether it was sent."""
        held = self.live or self.backlog
        if not held or len(self.waiting) >= MOST:
            return False
        batch = held[0]
        self.waiting.add(batch.sequence)  # before it is sent: its receipt may be here first
        if not connection.publish(readings_topic(self.name), batch.payload):
            self.waiting.discard(batch.sequence)
            return False
        held.popleft()
        return True


class Fleet:
    """All of them. `backlogs`: gateway -> what it brings. Fails when a batch is refused."""

    def __init__(self, url: str, backlogs: Mapping[str, Sequence[Due]]) -> None:
        self.gateways = [Gateway(name, backlog) for name, backlog in backlogs.items()]
        self.refused: list[str] = []
        self._by_name = {gateway.name: gateway for gateway in self.gateways}
        self._stop = threading.Event()
        shares = [self.gateways[n::CONNECTIONS] for n in range(CONNECTIONS)]
        self._members = [
            (
                Connection(
                    Settings(url=url, client_id=f"fleet-{n}"),
                    subscriptions=[receipt_topic(gateway.name) for gateway in share],
                    on_message=self._receipt,
                ),
                share,
            )
            for n, share in enumerate(shares)
        ]

    @property
    def idle(self) -> bool:
        """Whether everything has its receipt."""
        assert not self.refused, self.refused
        return all(gateway.idle for gateway in self.gateways)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Connected, and sending."""
        threads = [threading.Thread(target=self._pump, args=member, daemon=True) for member in self._members]
        for connection, _ in self._members:
            connection.start()
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
            for connection, _ in self._members:
                connection.stop()

    def _pump(self, connection: Connection, share: Sequence[Gateway]) -> None:
        while not self._stop.is_set():
            if not sum(gateway.step(connection) for gateway in share):  # each in its turn
                time.sleep(NOTHING_TO_DO)

    def _receipt(self, message: Message) -> None:
        word = json.loads(message.payload)
        if not word["stored"]:
            self.refused.append(str(word))
        self._by_name[word["gateway"]].waiting.discard(word["sequence"])
        message.acknowledge()

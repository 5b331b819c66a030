"""What tests of ports open: a pseudo terminal, a socket that listens, a port that takes no real time."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.edge.timed_port import FakeClock, FakePort
from tests.opponents.wires import Pty


@pytest.fixture
def pty() -> Iterator[Pty]:
    with Pty() as terminal:
        yield terminal


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def port(clock: FakeClock) -> FakePort:
    return FakePort(clock)


def address_of(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"

"""What listens to a daemon as systemd does."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path


class Manager:
    """What systemd is to a service of Type=notify with WatchdogSec=1."""

    def __init__(self, folder: Path) -> None:
        self.heard: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self.environment = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "1000000"}
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                text = self._socket.recv(4096).decode()
                self.heard.append((time.monotonic(), text))
        except OSError:
            return

    def close(self) -> None:
        self._socket.close()

    def fed_since(self, then: float) -> bool:
        return any(at > then and text == "WATCHDOG=1" for at, text in self.heard)

"""What both daemons do about signals."""

from __future__ import annotations

import signal
import threading


def until_signal() -> threading.Event:
    """Set by SIGTERM and SIGINT from now on."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # In a thread of its own: the handler runs in the thread that waits for `stop`, maybe while that holds its lock.
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    return stop

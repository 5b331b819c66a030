"""Health check of a container: whether its process has a connection to this TCP port now, as the kernel sees it.

`connected.py 8883` ends with 0 or 1. A daemon of ours is healthy when it is connected to its broker: it starts after
its files and databases are open, and keeps up or makes again one connection.
"""

from __future__ import annotations

import sys
from pathlib import Path

ESTABLISHED = "01"  # Linux, include/net/tcp_states.h
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def connected(port: int, tables: tuple[Path, ...] = TABLES) -> bool:
    """Whether a connection of this network namespace to a remote `port` stands."""
    wanted = f"{port:04X}"
    for table in tables:
        if not table.exists():
            continue
        for row in table.read_text().splitlines()[1:]:
            _, _, remote, state, *_ = row.split()  # proc_net_tcp: sl, local, remote, state; hexadecimal
            if state == ESTABLISHED and remote.rpartition(":")[2] == wanted:
                return True
    return False


if __name__ == "__main__":
    sys.exit(0 if connected(int(sys.argv[1])) else 1)

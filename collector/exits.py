"""Exit statuses of the command, and the errors that lead to them. Scripts rely on the numbers (docs/contract.md)."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit status of every command."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    NO_ANSWER = 3
    DAMAGED = 4
    CHECK_FAILED = 5
    UNREACHABLE = 6


class UsageFault(Exception):
    """Usage, configuration or an input file is refused (2). ConfigError of drivers.strict_yaml counts as one."""


class CheckFailed(Exception):
    """A check said no (5): another serial number, a profile whose proof fails, a strict close that is not ready."""


class Unreachable(Exception):
    """A port or server cannot be opened or reached (6). The text names it, what was tried, and what to look at."""

"""`meterline read` that cannot begin: a port that nobody can open, and what is no order at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.reading import Read

OPPONENT = Path(__file__).resolve().parents[1] / "opponents" / "opponent.yaml"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "/dev/ttyNONE7"),
        ("--port", "tcp://127.0.0.1:1"),
        ("--port", "socket://127.0.0.1:1"),
        ("--port", "rfc2217://127.0.0.1:1"),
    ],
    ids=lambda arguments: arguments[1],
)
def test_a_port_that_cannot_be_opened_is_unreachable(arguments: tuple[str, ...], read: Read) -> None:
    status, _, err = read("--profile", OPPONENT, *arguments)
    assert status == 6
    assert arguments[1] in err


@pytest.mark.parametrize(
    ("meter", "arguments", "words"),
    [
        ("auto", ("--port", "tcp://127.0.0.1:1"), "Modbus TCP does not tell"),
        ("nobody-knows", ("--port", "/dev/null"), "is not known"),
        (OPPONENT, (), "--port"),
        (OPPONENT, ("--port", "udp://a:1"), "udp:// is not known"),
        (OPPONENT, ("--port", "socket://host"), "host:port"),
        (OPPONENT, ("--port", "/dev/null", "--address", "0"), "from 1 to 247"),
        (OPPONENT, ("--port", "/dev/null", "--address", "248"), "from 1 to 247"),
        (OPPONENT, ("--port", "/dev/null", "--address", "x"), "from 1 to 247"),
        (OPPONENT, ("--port", "/dev/null", "--address", ""), "from 1 to 247"),
        (OPPONENT, ("--port", "/dev/null", "--baudrate", "9601"), "--baudrate"),
        (OPPONENT, ("--port", "/dev/null", "--framing", "9N1"), "--framing"),
        (OPPONENT, ("--port", "/dev/null", "--password-file", "/nonexistent/word"), "cannot be read"),
        (OPPONENT, ("--port", "/dev/null", "--time-zone", "Mars/Olympus"), "is not a time zone"),
        (OPPONENT, ("--port", "/dev/null", "--trace", "/nonexistent/trace"), "cannot be written"),
        (OPPONENT, ("--port", "/dev/null", "--format", "xml"), "--format"),
        ("orno-we-515", ("--port", "/dev/null", "--serial-number", "1"), "no register of the serial number"),
    ],
    ids=str,
)
def test_a_misuse_is_refused_before_the_port_is_touched(
    meter: str | Path, arguments: tuple[str, ...], words: str, read: Read
) -> None:
    status, _, err = read("--profile", meter, *arguments)
    assert status == 2, err
    assert words in err

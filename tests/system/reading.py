"""`meterline read` in this process, as its entry point does it: what a test of many readings runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from collector.cli import main

Read = Callable[..., tuple[int, str, str]]  # the arguments behind `read`; exit status, stdout, stderr


def reading(capsys: pytest.CaptureFixture[str]) -> Read:
    """The command. A failed one must have said nothing on stdout, and why on stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["read", *map(str, arguments)])
        said = capsys.readouterr()
        status = int(ended.value.code or 0)
        if status:
            assert said.out == ""
            assert said.err.startswith(("meterline: ", "Usage: "))
        return status, said.out, said.err

    return run

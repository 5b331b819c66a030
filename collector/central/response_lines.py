"""A utility's answer in a file: CSV `account,verdict,reason`, or lines `account accepted`, `account refused why`.

All of it is taken or nothing: every fault is said with its line.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import get_args

from collector.central.manual_desk import Refused
from collector.central.responses import Answer, Verdict
from collector.central.sent_lines import cells_of, lines_of, text_of
from drivers.strict_yaml import ConfigError

HEADER = ["account", "verdict", "reason"]
_VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
LONGEST_REASON = 400  # characters: two SMS and some


def read(data: bytes, name: str, accounts: Container[str]) -> list[Answer]:
    """The answers, one an account. `accounts`: those that were sent. Raises ConfigError with every fault."""
    raw = lines_of(data, name)
    delimiter = _delimiter(raw[0])
    faults: list[str] = []
    found: dict[str, tuple[int, Answer]] = {}
    for number, bare in enumerate(raw, 1):
        if not bare.strip() or (number == 1 and delimiter):
            continue
        try:
            text = text_of(bare)
            cells = cells_of(text, delimiter, len(HEADER)) if delimiter else _words(text, accounts)
            answer = _checked(cells, accounts)
            first, same = found.setdefault(answer.account, (number, answer))
            if same != answer:
                raise Refused(f"account {answer.account} has another answer in line {first}")
        except Refused as refused:
            faults.append(f"{name}: line {number}: {refused}")
    if not found and not faults:
        faults.append(f"{name}: there is no answer in it; a line is {','.join(HEADER)} under that header")
    if faults:
        raise ConfigError(faults)
    return [answer for _, answer in found.values()]


def _delimiter(bare: bytes) -> str | None:
    """What separates the columns; None for a file of lines without a header."""
    text = bare.removesuffix(b"\r").decode("utf-8", "replace").lower()
    return next((sign for sign in ",;" if [cell.strip() for cell in text.split(sign)] == HEADER), None)


def _words(text: str, accounts: Container[str]) -> list[str]:
    """`account verdict reason`; an account may hold blanks itself, the longest that was sent counts."""
    words = text.split()
    for cut in range(len(words) - 1, 0, -1):
        account, verdict = " ".join(words[:cut]), words[cut].rstrip(":,;.")
        if account in accounts and verdict in _VERDICTS:
            return [account, verdict, " ".join(words[cut + 1 :])]
    raise Refused("a line is ACCOUNT accepted, or ACCOUNT refused REASON, with an account that was sent")


def _checked(cells: Sequence[str], accounts: Container[str]) -> Answer:
    account, verdict, reason = cells
    if account not in accounts:
        raise Refused(f"account {account!r} is not in what was sent; it has to be exact")
    if len(reason) > LONGEST_REASON:
        raise Refused(f"a reason of {len(reason)} characters; at most {LONGEST_REASON}")
    if verdict == "refused" and not reason:
        raise Refused(f"account {account} is refused without a reason")
    for word in _VERDICTS:
        if verdict == word:
            return Answer(account, word, reason)
    raise Refused(f"verdict {verdict[:40]!r}; it is accepted or refused")

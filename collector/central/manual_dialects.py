"""One-line messages read back: the forms in which a utility takes them (its `outputs`), and two that need no profile.

What `submissions.messages` writes is read as what it was written from. A form is tried against every account that may
begin the line; what fits two accounts is nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from collector.central.manual_desk import Place, Refused
from collector.central.submissions import messages
from collector.central.utility import Utility

# A field of a template, or a word in brackets that whoever sends the message puts something of his own for.
_PART = re.compile(r"\{([a-z_]+)\}|(\[[^\]]*\])")
_OWN_WORDS = "[]"


class Said(NamedTuple):
    """A line that can be read: whose it is, what is told, and of which meter (empty: the only one; None: of all).

    `values`: in the order of the account's receipt; those of one meter in the order of their OBIS codes.
    """

    account: str
    meter: str | None
    values: tuple[str, ...]


def read(text: str, utility: Utility, accounts: Mapping[str, Sequence[Place]]) -> Said:
    """A message. Raises Refused for one that nobody's account begins, or that may be two accounts'."""
    text = text.strip()
    forms = [output for output in utility.outputs if output.format == "messages"]
    own = [said for output in forms for said in _read(text, output, utility, accounts)]
    plain = list(_plain(text, accounts))
    fitting = [said for said in plain if len(said.values) == len(accounts[said.account])]
    named = sorted({said.account for said in (*own, *fitting)})
    if len(named) > 1 or len(set(own)) > 1:
        raise Refused(f"this may be account {' or '.join(named)}; send it with another sign between the fields")
    for found in (own, fitting, plain):
        if found:
            return found[0]
    raise Refused(
        f"no account of {utility.id} begins this line; a message is {_forms(utility)}, one account each, whole kWh"
    )


def _forms(utility: Utility) -> str:
    own = [output.line for output in utility.outputs if output.format == "messages"]
    return " or ".join(dict.fromkeys([*own, "ACCOUNT*READING*READING", "ACCOUNT READING READING"]))


def _plain(text: str, accounts: Mapping[str, Sequence[Place]]) -> Iterator[Said]:
    """`account*1111*2222` or `account 1111 2222`, wherever an account may end."""
    for separator in ("*", " "):
        parts = text.split(separator)
        for cut in range(len(parts) - 1, 0, -1):
            account = separator.join(parts[:cut])
            if account in accounts:
                yield Said(account, None, tuple(parts[cut:]))


# ----------------------------------------------------------------------------- a utility's own form


def _read(
    text: str, output: messages.Output, utility: Utility, accounts: Mapping[str, Sequence[Place]]
) -> Iterator[Said]:
    """Every way to read a message by its template in which all that it says is so."""
    for fields in _fields(text, _parts(output.line), accounts):
        account = fields["account"]
        places = [place for place in accounts[account] if _is_of(place, fields)]
        if not places or any(fields.get(name, text) != text for name, text in _of(places[0]).items()):
            continue
        told = _told(fields["values"], output, utility, places)
        if told is None:
            continue
        if output.per == "account":
            yield Said(account, None, tuple(told))
        else:
            codes = [place.code for place in places]
            by_code = sorted(zip(codes, told, strict=True))
            yield Said(account, _of(places[0])["serial_number"], tuple(value for _, value in by_code))


def _parts(template: str) -> list[tuple[str, str]]:
    """(sign before it, field) of each field; the last one may be without a field."""
    found, end = [], 0
    for match in _PART.finditer(template):
        found.append((template[end : match.start()], match[1] or _OWN_WORDS))
        end = match.end()
    return [*found, (template[end:], "")]


def _fields(
    text: str, parts: Sequence[tuple[str, str]], accounts: Mapping[str, Sequence[Place]]
) -> Iterator[dict[str, str]]:
    """What each field may be: every way to cut the text at the signs between them, with an account that is known."""
    (sign, field), rest = parts[0], parts[1:]
    if not text.startswith(sign):
        return
    text = text[len(sign) :]
    if not field:
        if not text:
            yield {}
        return
    following = rest[0][0]
    ends = (len(text),) if not following else (m.start() for m in re.finditer(f"(?={re.escape(following)})", text))
    for end in ends:
        if field != "account" or text[:end] in accounts:
            for others in _fields(text[end:], rest, accounts):
                yield {field: text[:end], **others}


def _of(place: Place) -> dict[str, str]:
    serial = "" if place.segment is None else place.segment.serial_number
    return messages.of_point(place.point.address, place.point.flat, serial)


def _is_of(place: Place, fields: Mapping[str, str]) -> bool:
    return fields.get("serial_number", _of(place)["serial_number"]) == _of(place)["serial_number"]


def _told(text: str, output: messages.Output, utility: Utility, places: Sequence[Place]) -> list[str] | None:
    """The reading of each place; None unless each has exactly one. What is tagged may come in any order."""
    pieces = text.split(output.join)
    if len(pieces) != len(places):
        return None
    found: dict[int, str] = {}
    for piece in pieces:
        for number, pattern in enumerate(_patterns(output, utility, places)):
            if number not in found and (match := pattern.fullmatch(piece)):
                found[number] = match["value"]
                break
        else:
            return None
    return [found[number] for number in range(len(places))]


def _patterns(output: messages.Output, utility: Utility, places: Sequence[Place]) -> list[re.Pattern[str]]:
    """How a value of each place is written: its number and its label are known."""
    points = list(dict.fromkeys(place.point.point for place in places))
    found = []
    for place in places:
        label = output.tags.get(place.code, utility.label(place.code))
        known = {"number": str(points.index(place.point.point) + 1), "label": label}
        written = ""
        for sign, field in _parts(output.value):
            written += re.escape(sign)
            written += r"(?P<value>[0-9]+(?:\.[0-9]+)?)" if field == "value" else re.escape(known.get(field, ""))
        found.append(re.compile(written))
    return found

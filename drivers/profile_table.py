"""Tables of the profiles for the documentation, drawn from the files; `python -m drivers.profile_table FILE...` renews.

A page holds pairs of markers, `<!-- profiles:begin -->` and `<!-- profiles:end -->`; what stands between them is ours.
`profiles` is one row a profile, `profile-details` their registers, proofs and caveats.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from drivers import obis
from drivers.profile import Profile, load_all
from drivers.profile_places import Register


def markdown_table(profiles: Iterable[Profile]) -> str:
    """One row a profile: what it reads, whether its identity can be proven, how the profile itself is."""
    head = ("profile", "meter", "protocol", "phases", "import", "export", "serial number", "clock", "proof", "caveats")
    rows = [
        (
            f"`{profile.id}`",
            profile.title,
            profile.protocol,
            str(profile.phases),
            registers_in_words(profile, 1),
            registers_in_words(profile, 2),
            "none" if profile.serial == "none" else "yes",
            "none" if profile.clock == "none" else "yes",
            profile.proven.label,
            str(len(profile.all_caveats)),
        )
        for profile in profiles
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)) + "\n"


def registers_in_words(profile: Profile, quantity: int) -> str:
    """ "total, T1-T4" for the registers of value group C `quantity` (1 import, 2 export); "-" where there is none.

    "as sent" for a profile that takes every register.
    """
    if profile.takes_every:
        return "as sent"
    tariffs = sorted(code.e for code in map(obis.parse, profile.energy_codes) if code.c == quantity)
    if not tariffs:
        return "-"
    rates = [tariff for tariff in tariffs if tariff]
    parts = ["total"] if 0 in tariffs else []
    if rates:
        parts.append("T1" if rates == [1] else f"T1-T{rates[-1]}")
    return ", ".join(parts)


def markdown_details(profiles: Iterable[Profile]) -> str:
    """A section a profile: addresses of its registers, where the proofs are from, caveats."""
    return "\n".join(line for profile in profiles for line in (*_details(profile), "")).rstrip("\n") + "\n"


def _details(profile: Profile) -> Iterator[str]:
    line = profile.line
    yield f"### `{profile.id}`"
    yield ""
    yield f"{profile.title}. {line.baudrate} {line.framing}: {line.source}."
    yield ""
    yield f"- Read with: {', '.join(profile.settings.in_words)}"
    energy = {code: profile.registers[code] for code in profile.energy_codes}
    others = {code: profile.registers[code] for code in sorted(profile.registers, key=obis.sort_key)}
    yield f"- Energy: {_places(energy)}"
    yield f"- Other: {_places({code: it for code, it in others.items() if code not in energy}) or '-'}"
    for proof in profile.proof:
        on = f"{proof.kind} on {proof.device}" if proof.device and proof.kind == "captured" else proof.kind
        of = f" ({proof.device})" if proof.device and proof.kind != "captured" else ""
        yield f"- Proof of {', '.join(proof.gives)}: {on}{of}. {proof.source}"
    yield from (f"- Caveat: {caveat}" for caveat in profile.all_caveats)


def _places(registers: dict[str, Register]) -> str:
    return ", ".join(f"{code} `{register.where}`" for code, register in registers.items())


SECTIONS: dict[str, Callable[[Iterable[Profile]], str]] = {
    "profiles": markdown_table,
    "profile-details": markdown_details,
}


def renewed(page: str, profiles: Iterable[Profile]) -> str:
    """The page with every marked section drawn anew. Raises ValueError when it has none."""
    known = list(profiles)
    drawn = 0
    for name, draw in SECTIONS.items():
        begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
        before, found, rest = page.partition(begin)
        if found:
            page = before + begin + draw(known) + end + rest.partition(end)[2]
            drawn += 1
    if not drawn:
        raise ValueError(f"no section is marked; there are {', '.join(SECTIONS)}")
    return page


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(renewed(path.read_text("utf-8"), load_all().values()), "utf-8")

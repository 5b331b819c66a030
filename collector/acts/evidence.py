"""Photos and scans beside an act: taken in as a stream, bound by SHA-256, checked again whenever the act is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from collector.acts.durable_files import draft, put
from collector.exits import UsageFault
from collector.model_act import EVIDENCE_NAME as NAME
from collector.model_act import Act, Evidence

MOST = 20 << 20  # bytes of a photo: what phones make of 12 megapixels is 3 to 8 MiB; a gateway's flash has little room
CHUNK = 1 << 20
SCANS = "scans.json"


def take_in(files: Iterable[Path], into: Path) -> list[Evidence]:
    """Copy files beside an act. Raises UsageFault for one that cannot be read, is too large, or has a taken name."""
    found: dict[str, Evidence] = {}
    for path in files:
        name = path.name
        if not re.fullmatch(NAME, name):
            raise UsageFault(
                f"{path}: a photo's name is 1 to 120 characters, does not begin with a dot, and has no / in it"
            )
        if name.casefold() in found or name == SCANS:
            raise UsageFault(f"{path}: a photo of the name {name} is there already; rename one of them")
        found[name.casefold()] = Evidence(name=name, sha256=_copy(path, into / name))
    return list(found.values())


def _copy(path: Path, into: Path) -> str:
    try:
        if (size := path.stat().st_size) > MOST:
            raise UsageFault(f"{path}: {size >> 20} MiB; at most {MOST >> 20} MiB; have the camera make it smaller")
        digest, taken = hashlib.sha256(), 0
        with path.open("rb") as source, draft(into) as copy:
            while chunk := source.read(CHUNK):
                taken += len(chunk)
                if taken > MOST:  # it grew meanwhile, or is no file that has a size
                    raise UsageFault(f"{path}: more than {MOST >> 20} MiB")
                digest.update(chunk)
                copy.file.write(chunk)
            copy.replace()
    except OSError as error:
        raise UsageFault(f"{path}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def add_scan(act: Act, file: Path, beside: Path) -> Evidence:
    """Lay a signed scan beside an act; `scans.json` binds it to the act's hash. Raises UsageFault."""
    known = scans(act, beside)
    names = {item.name.casefold() for item in (*act.evidence, *known)}
    if file.name.casefold() in names:
        raise UsageFault(f"{file.name} lies beside act {act.number} already; give this one another name")
    (taken,) = take_in([file], beside)
    rows = [item.model_dump() for item in (*known, taken)]
    put(beside / SCANS, json.dumps({"act": act.hash, "scans": rows}, ensure_ascii=False, indent=1).encode())
    return taken


def scans(act: Act, beside: Path) -> list[Evidence]:
    """The scans that were added to an act. Raises UsageFault when their list is broken or speaks of another act."""
    path = beside / SCANS
    if not path.exists():
        return []
    try:
        data: Any = json.loads(path.read_bytes())
        if data["act"] != act.hash:
            raise UsageFault(f"{path} is about act {data['act']}, not {act.hash}")
        return [Evidence.model_validate(row) for row in data["scans"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageFault(f"{path}: not a list of scans: {error}") from None


def faults(act: Act, beside: Path) -> Iterator[str]:
    """What is wrong with the photos and scans of an act, in words."""
    try:
        bound = (*act.evidence, *scans(act, beside))
    except UsageFault as fault:
        yield str(fault)
        return
    for item in bound:
        path = beside / item.name
        if not path.exists():
            yield f"{path} is not here"
        elif (came := _digest(path)) != item.sha256:
            yield f"{path} was changed: SHA-256 {came}, the act binds {item.sha256}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""IEC 62056-21 meters, our side: readout, programming mode and pushed readouts. (Theirs: `iec62056_21_meter`.)

Modes A, B, C and D are read. A mode E meter is read in mode C, which it offers beside HDLC; one that speaks HDLC only
is refused. The port is open for 8N1, parity is added and verified here.
"""

from __future__ import annotations

from typing import TypeVar

from drivers import iec62056_21_datasets as datasets
from drivers.dialogue import (
    Ask,
    DamagedFrame,
    Dialogue,
    Done,
    More,
    Never,
    Readout,
)
from drivers.iec62056_21_characters import STRIPPED, port_framing
from drivers.iec62056_21_datasets import DataSet
from drivers.iec62056_21_dialect import Accepted
from drivers.iec62056_21_frames import (
    ADDRESS,
    SOH,
    Block,
    parse_block,
    parse_command,
    parse_end,
    parse_identification,
    parse_readout,
)
from drivers.iec62056_21_meter import IecMeter
from drivers.iec62056_21_plan import plan
from drivers.iec62056_21_programming import Programming
from drivers.iec62056_21_readout import Sets, readout, without_energy
from drivers.iec62056_21_values import answered, values
from drivers.iec_places import Exchange, IecProfile, IecProof
from drivers.meter_side import Wiring
from drivers.summed import given_codes

__all__ = ["meter", "normal_address", "plan", "port_framing", "read", "understand"]

NO_CHECKSUM, NO_PARITY = "no-checksum", "no-parity"  # qualities (docs/contract.md)

F = TypeVar("F")


def normal_address(address: str, port: str) -> str:  # noqa: ARG001 - the same on every port
    """An address as it is sent: up to 32 digits, letters, blanks; empty for the only meter of a wire.

    Leading zeros stay: some meters want them. Raises ValueError that says what would be right.
    """
    address = address.strip()
    if not ADDRESS.fullmatch(address):
        raise ValueError("an IEC 62056-21 address has at most 32 digits and letters; none where a meter is alone")
    return address


def meter(profile: IecProfile, address: str, wiring: Wiring) -> IecMeter:
    """The meter's side. Raises ValueError for an address that none can have."""
    return IecMeter(profile, normal_address(address, ""), wiring)


# ----------------------------------------------------------------------------- our side


def read(profile: IecProfile, ask: Ask) -> Dialogue[Readout]:
    """One asking of one meter. Raises DriverError: see `iec62056_21_session` for its kinds."""
    settings = profile.iec
    given_codes(profile, ask.codes)  # what the profile has not is said before the meter is asked
    session = Programming(
        ask, first=profile.line.timeout, check=settings.check, fastest=settings.fastest, wake=settings.wake
    )
    if settings.session == "programming":
        return (yield from values(profile, ask, session, _quality(ask.framing, True)))
    accepted = Accepted(profile, session)
    take = session.pushed if settings.session == "push" else session.readout
    block: Block = yield from take(accepted)
    sets = Sets(datasets.parse(block.body, proven=block.proven), accepted.dialect)
    found = readout(
        profile,
        sets,
        ask.codes,
        serial=ask.serial,
        clock=ask.clock,
        frozen=ask.frozen,
        quality=_quality(ask.framing, block.proven),
    )
    if not found.registers and not (profile.takes_every and (found.serial_number or found.clock)):
        raise without_energy(profile, sets)
    return found


def _quality(framing: str, proven: bool) -> tuple[str, ...]:
    return (() if proven else (NO_CHECKSUM,)) + ((NO_PARITY,) if framing == STRIPPED else ())


# ----------------------------------------------------------------------------- proofs


def understand(profile: IecProfile, proof: IecProof) -> Readout:
    """What the bytes of a proof say, through the parsers that `read` uses. Raises DriverError."""
    if proof.request.startswith(SOH):
        sets, proven = Sets(_answered(profile, one) for one in proof.exchanges), True
    else:
        sets, proven = _read_out(profile, proof.answer)
    found = readout(profile, sets, quality=_quality("", proven))
    if not found.registers and not found.frozen and not found.serial_number and not found.clock:
        raise without_energy(profile, sets)
    return found


def _answered(profile: IecProfile, exchange: Exchange) -> DataSet:
    asked = _whole(parse_command(exchange.request, profile.iec.check))
    return answered(asked.data or "", _whole(parse_block(exchange.answer, profile.iec.check)).body)


def _read_out(profile: IecProfile, characters: bytes) -> tuple[Sets, bool]:
    """The data sets of a readout with its identification (or, as some are recorded, without), and if it is proven."""
    accepted, identification = Accepted(profile), None
    if isinstance(named := parse_identification(characters), Done):
        identification = named.frame
        accepted(identification)
        characters = characters[named.used :]
    check = (accepted.dialect.check if accepted.dialect else None) or profile.iec.check
    read = parse_readout(characters, check, identification)
    block = _whole(read)
    if isinstance(read, Done) and not block.proven and isinstance(lost := parse_end(characters[read.used :]), Never):
        raise lost.error
    return Sets(datasets.parse(block.body, proven=block.proven), accepted.dialect), block.proven


def _whole(outcome: More | Done[F] | Never) -> F:
    match outcome:
        case Done(frame):
            return frame
        case Never(error):
            raise error
        case _:
            raise DamagedFrame("the frame is not whole: its end is missing")

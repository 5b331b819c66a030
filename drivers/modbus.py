"""Modbus meters, our side: what to ask for a reading, and what the answers say. (Theirs: `modbus_meter`.)

The names of values in blocks and in `Readout.refused` are those of `modbus_blocks.values_of`. Beside them `refused` may
hold "apart:..." keys: what a meter gives one by one but not in one request (`modbus_blocks.Apart`). All of them are
handed back in `Ask.refused`, and are not asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from drivers import obis, values
from drivers.dialogue import (
    Ask,
    DamagedFrame,
    Dialogue,
    Done,
    FrozenSet,
    Measured,
    MeterRefused,
    More,
    Never,
    NotInProfile,
    Readout,
    exchange,
)
from drivers.meter_side import Wiring
from drivers.modbus_blocks import Apart, Block, Extent, Rules, blocks, extents, halves, rules
from drivers.modbus_frames import (
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    MOST,
    READ,
    Question,
    rtu_request,
    unit_address,
)
from drivers.modbus_meter import ModbusMeter
from drivers.modbus_places import ModbusProfile, Register
from drivers.obis import TOTAL
from drivers.profile import CLOCK, SERIAL, HexProof
from drivers.summed import given_codes, summands, summed

__all__ = ["Block", "meter", "normal_address", "plan", "port_framing", "read", "understand"]

TCP_WAIT = 1.0  # seconds beyond the meter's own: common gateways wait that long before they say that it is silent
TCP_MOST = 2048  # bytes: room for some late answers to older questions (at most 260 bytes each), which are passed over


# ----------------------------------------------------------------------------- how a meter hangs on its wire


def normal_address(address: str, port: str) -> str:
    """An address in its one spelling. Raises ValueError that says what would be right."""
    try:
        return str(unit_address(address, tcp=port.startswith("tcp://")))
    except NotInProfile as error:
        raise ValueError(str(error)) from None


def port_framing(framing: str) -> str:
    """The port is opened with the meter's own framing. Raises ValueError for one that RTU cannot have."""
    if framing[0] != "8":  # Modbus over serial line V1.02, 2.5.1: RTU characters have eight data bits
        raise ValueError(f"Modbus RTU needs eight data bits, such as 8N1 or 8E1, not {framing}")
    return framing


def meter(profile: ModbusProfile, address: str, wiring: Wiring) -> ModbusMeter:
    """The meter's side. Raises ValueError for an address that none can have."""
    return ModbusMeter(profile, int(normal_address(address, "tcp://" if wiring.tcp else "")), wiring)


# ----------------------------------------------------------------------------- what is asked


def plan(profile: ModbusProfile, ask: Ask) -> tuple[Block, ...]:
    """The requests of one asking, with the line time each should take.

    Raises NotInProfile for codes that the profile does not have.
    """
    return blocks(_asked(profile, ask), _rules(profile, ask))


def _rules(profile: ModbusProfile, ask: Ask) -> Rules:
    return rules(profile, baudrate=ask.baudrate, framing=ask.framing, turnaround=ask.turnaround, refused=ask.refused)


def _asked(profile: ModbusProfile, ask: Ask) -> list[Extent]:
    """What an asking must read: nothing that was refused before."""
    names = set(given_codes(profile, ask.codes))
    if TOTAL in names and profile.is_summed:
        names.update(summands(profile))
    names.update(name for name, asked in ((SERIAL, ask.serial), (CLOCK, ask.clock)) if asked)
    return [
        extent
        for name, extent in extents(profile).items()
        if (name in names or (ask.frozen and name.startswith("frozen."))) and name not in ask.refused
    ]


# ----------------------------------------------------------------------------- our side


def read(profile: ModbusProfile, ask: Ask) -> Dialogue[Readout]:
    """One asking of one meter: its planned blocks, each asked again as its trouble needs.

    A block that the meter refuses (exceptions 1 to 3) is split until the refused values are known; their names, and
    what was learnt of holes, come back in `Readout.refused` (only what is new to `ask.refused`). Raises DriverError;
    NotInProfile where a code is not in the profile or the meter has none of the registers asked for.
    """
    unit = unit_address(ask.address, tcp=ask.tcp)
    codes, asked, by = given_codes(profile, ask.codes), _asked(profile, ask), _rules(profile, ask)
    if not any(extent.name in profile.registers for extent in asked):
        raise NotInProfile(f"the meter refused all of {', '.join(codes)} before; check that it is a {profile.title}")
    asking = _Asking(profile, ask, unit, asked, by)
    for block in blocks(asked, by):
        yield from asking.gather(block)
    if not any(name in profile.registers for name in asking.got):
        raise NotInProfile(
            f"the meter refuses all of {', '.join(codes)}; check that it is a {profile.title}. Last: {asking.last}"
        )
    return _readout(profile, asking.got, codes, frozenset(asking.refused))


class _Asking:
    """One asking under way: what the meter gave (`got`, registers' bytes by name), what it refused, and the last no."""

    def __init__(self, profile: ModbusProfile, ask: Ask, unit: int, asked: list[Extent], by: Rules) -> None:
        self.got: dict[str, bytes] = {}
        self.refused: set[str] = set()
        self.last: MeterRefused | None = None
        self._profile, self._tcp, self._transaction = profile, ask.tcp, ask.transaction
        self._unit, self._rules = unit, by
        self._extents = {extent.name: extent for extent in asked}

    def gather(self, block: Block) -> Dialogue[bool]:
        """Read a block, by its parts where the meter refuses it. Returns whether one request gave it."""
        try:
            data = yield from self._ask(Question(self._unit, block.function, block.address, block.count))
        except MeterRefused as error:
            if error.code not in (ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE):
                raise
            self.last = error
            parts = None if error.code == ILLEGAL_FUNCTION else halves(block, self._extents.values(), self._rules)
            if parts is None:
                self.refused.update(block.names)
                return False
            below, above = parts
            given = [(yield from self.gather(below)), (yield from self.gather(above))]
            if all(given) and below.end <= above.address:
                self.refused.add(str(Apart(block.function, below.end, above.address)))
            return False
        self.got |= _cut(data, block.address, (self._extents[name] for name in block.names))
        return True

    def _ask(self, question: Question) -> Dialogue[bytes]:
        # `between` is as long as `first`: a glitch of the line's drivers before the answer must not cut the meter's
        # time short. The answer ends by its length, so this costs time only where a frame is damaged.
        first, pause = self._profile.line.timeout, self._profile.line.pause
        if not self._tcp:
            return exchange(question.rtu(), question.rtu_parser(), first=first, between=first, silence=pause)
        number, self._transaction = self._transaction % 0x10000, self._transaction + 1
        first += TCP_WAIT
        return exchange(
            question.tcp(number),
            question.tcp_parser(number),
            first=first,
            between=first,
            most=TCP_MOST,
            late=0,  # the transaction tells
        )


def _cut(data: bytes, start: int, inside: Iterable[Extent]) -> dict[str, bytes]:
    """The bytes of each value from those of all registers from `start` on."""
    return {extent.name: data[2 * (extent.address - start) : 2 * (extent.end - start)] for extent in inside}


def understand(profile: ModbusProfile, proof: HexProof) -> Readout:
    """What a recorded exchange on a serial line says: all values of the profile that lie wholly in the answer.

    `proof.request`: one read request, `proof.answer`: what came, both with their check bytes. The parser is the one
    that `read` uses. Raises DriverError.
    """
    request, answer = proof.request, proof.answer
    heard = rtu_request(request)
    if not isinstance(heard, Done) or heard.frame is None or len(request) != 8 or heard.frame.pdu[0] not in READ:
        raise DamagedFrame(f"the request is no sound read request (8 bytes, function 03 or 04): {request.hex(' ')}")
    pdu = heard.frame.pdu
    start, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
    if not 1 <= count <= MOST:
        raise DamagedFrame(f"the request asks for {count} registers; a request may ask for 1 to {MOST}")
    question = Question(heard.frame.unit, pdu[0], start, count)
    match question.rtu_parser()(answer):
        case Done(frame=data):
            inside = [
                extent
                for extent in extents(profile).values()
                if extent.function == pdu[0] and start <= extent.address and extent.end <= start + count
            ]
            return _readout(profile, _cut(data, start, inside), given_codes(profile, ()), frozenset())
        case More(wanted=wanted):
            raise DamagedFrame(f"asked for {question}: at least {wanted} bytes are missing; came {answer.hex(' ')}")
        case Never(error=error):
            raise error


# ----------------------------------------------------------------------------- what the registers say


def _readout(
    profile: ModbusProfile, got: Mapping[str, bytes], codes: Iterable[str], refused: frozenset[str]
) -> Readout:
    """The values of `codes` in the registers' bytes by name. Raises NotInProfile for a serial number that is none."""
    measured = {code: _measured(profile, code, it, got[code]) for code, it in profile.registers.items() if code in got}
    if profile.is_summed:
        measured[TOTAL] = summed(profile, measured)
    serial = None
    if not isinstance(profile.serial, str) and SERIAL in got:
        try:
            serial = values.decode_text(profile.serial.type, got[SERIAL], profile.modbus.word_order)
        except ValueError as error:
            raise NotInProfile(f"serial number: {error}; check that the meter is a {profile.title}") from None
    clock = None
    if not isinstance(profile.clock, str) and CLOCK in got:
        clock = values.decode_clock(profile.clock.type, got[CLOCK])
    return Readout(
        registers={code: it for code in codes if (it := measured.get(code)) is not None},
        serial_number=serial,
        clock=clock,
        frozen=tuple(found for number in range(1, len(profile.frozen) + 1) if (found := _frozen(profile, number, got))),
        refused=refused,
        absent=tuple(code for code in codes if code in measured and measured[code] is None),
    )


def _measured(profile: ModbusProfile, code: str, register: Register, raw: bytes) -> Measured | None:
    """One value; None where the meter says that it is not available."""
    settings = profile.modbus
    value = values.decode_number(register.type, raw, settings.word_order, settings.not_available)
    if value is None:
        return None
    meaning = obis.parse(code)
    carried = values.whole_wh if meaning.is_energy else values.si_value
    return Measured(carried(register.type, value, register.factor), meaning.unit, raw)


def _frozen(profile: ModbusProfile, number: int, got: Mapping[str, bytes]) -> FrozenSet | None:
    """The n-th frozen set; None where it was not read, or the meter has not closed that often yet."""
    group = profile.frozen[number - 1]
    registers = {}
    for code, register in group.registers.items():
        raw = got.get(f"frozen.{number}.{code}")
        if raw is not None and (it := _measured(profile, code, register, raw)) is not None:
            registers[code] = it
    stamp = None
    if group.stamp is not None and (raw := got.get(f"frozen.{number}.stamp")) is not None:
        stamp = values.decode_clock(group.stamp.type, raw)
    if not registers or (stamp is None and group.back is None):
        return None
    return FrozenSet(registers, stamp, group.back)

"""From the configuration's meters to what a line needs to know of them."""

from __future__ import annotations

from collector.config import Meter
from collector.config_fields import read_secret
from collector.edge.asking import MeterSetup


def meter_setup(meter: Meter) -> MeterSetup:
    """A meter as a line asks it. Raises ValueError when its password file cannot be read any more."""
    return MeterSetup(
        id=meter.id,
        profile=meter.profile,
        address=meter.address,
        serial_number=meter.serial_number,
        baudrate=meter.baudrate,
        framing=meter.framing,
        interval=meter.interval,
        password=None if meter.password_file is None else read_secret(meter.password_file).encode(),
        meter_time=meter.meter_time,
        quantities=meter.quantities,
        ended=meter.ended,
    )

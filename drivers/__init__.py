"""Pure protocol code: bytes to values and back. No ports, no clock, no log, no threads in this package."""

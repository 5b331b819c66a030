"""Ends that were not written here (pymodbus, libmodbus, pyserial's RFC 2217 server), and wires to put them on."""

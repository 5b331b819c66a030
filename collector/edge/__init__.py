"""Beside the meters: schedule, transport, line, publisher, gateway."""

"""Meterline: edge collectors, the central service, and the command that starts them."""

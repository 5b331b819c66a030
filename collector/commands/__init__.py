"""One module a command of `meterline`."""

"""`python -m collector` is `meterline`."""

from collector.cli import main

if __name__ == "__main__":
    main()

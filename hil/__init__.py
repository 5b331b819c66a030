"""The bench: simulated meters and real ones on the same line."""

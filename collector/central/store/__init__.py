"""Where the time series are kept."""

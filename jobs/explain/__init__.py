"""`forecaster explain`: one stored forecast, read back with what it attended to."""

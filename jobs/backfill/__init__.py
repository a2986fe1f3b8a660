"""Backfill: the ticks of the past, forecast as the service would have done it. Start at `run`."""

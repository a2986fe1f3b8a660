"""State of the service: datasets, runs, leases, models, watermarks."""

"""What the service remembers of itself: datasets, runs, leases, models, watermarks."""

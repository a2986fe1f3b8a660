"""One run of one job: claimed, limited in time, reported once."""

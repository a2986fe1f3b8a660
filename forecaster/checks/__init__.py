"""What `forecaster check` reports of settings and of the rows that they describe."""

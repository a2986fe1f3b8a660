"""Prometheus metrics and the state of each dataset."""

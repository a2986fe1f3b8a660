"""Replay of a dataset's past through the jobs of the service, with injected faults."""

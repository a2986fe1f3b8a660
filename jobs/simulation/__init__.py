"""Simulation: a dataset's past replayed through the jobs of the service, with faults on purpose."""

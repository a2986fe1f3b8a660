"""Observations and their versions."""

"""Forecasts, their attention weights and their accuracy, written and read back."""

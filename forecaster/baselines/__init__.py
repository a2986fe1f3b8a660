"""Forecasts without training: naive, Naive2, Markov, and methods of statsforecast."""

"""Evaluation of forecasts: metrics, cutoffs, and rolling-origin evaluation."""

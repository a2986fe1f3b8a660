"""How right forecasts are: metrics, cutoffs, and rolling-origin evaluation."""

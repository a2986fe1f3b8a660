"""`forecaster backtest`: what it reads, plans, runs and reports."""

"""A backtest as an experiment: train on the past, forecast beside rivals, keep the rows."""

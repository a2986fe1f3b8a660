"""Scheduled quantile forecasts for time series in SQL, with the attention behind them.

The library. A package imports from the layers below its own, never from above:

checks · experiments · explain    what `check` reports; backtests; faithfulness of attention
training                          from a panel and settings to a model
evaluation · inference            metrics and rolling origins; from a model to forecasts
network · source                  the LSTM with temporal attention; reading a user's database
data · store                      values on a time grid; Forecaster's own database
config · ingestion                settings; raw rows into observations
baselines · times                 forecasts without training; durations, cron, timestamps
schemas · errors                  the data frames that packages exchange; exceptions

The program that runs it on a schedule is the package `jobs`.
"""

__version__ = "0.2.0"

"""Scheduled quantile forecasts for time series in SQL, with the attention behind them.

The library; imports only point down, from the last floor to the first:

floor 0   errors · frames · durations · schedules · config · configfile
floor 1   distributions     quantiles of Student's t and of mixtures, with gradients
          intake            raw rows -> observations
          series/           grid · seasons · panel · windows · accuracy · baselines
          model/            patches -> LSTM -> temporal attention -> quantiles; checkpoints
floor 2   training · inference
          store/            all the SQL, on SQLite and PostgreSQL

The program that runs it on a schedule is the package `jobs`.
"""

__version__ = "0.1.0"
